;; Calls through a table whose target changes.
(module
  (type $step (func (param i64) (result i64)))
  (memory (export "memory") 1)
  (table 4 funcref)
  (elem (i32.const 0) $a $b $c $d)
  (func $a (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
  (func $b (param i64) (result i64) (i64.xor (local.get 0) (i64.const 5)))
  (func $c (param i64) (result i64) (i64.rotl (local.get 0) (i64.const 7)))
  (func $d (param i64) (result i64) (i64.sub (local.get 0) (i64.const 3)))
  (func (export "_start") (local $i i32) (local $x i64)
    (loop $again
      (local.set $x (call_indirect (type $step) (local.get $x) (i32.and (local.get $i) (i32.const 3))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 200000000))))
    (if (i64.eqz (local.get $x)) (then unreachable))))
