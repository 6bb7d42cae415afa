;; A million tail calls back and forth between instances, with arguments on the stack, use constant stack.

(module $A
  (type $f (func (param i32 i64 i64 i64 i64 i64 i64 i64 i64 f64) (result i64)))
  (table (export "t") 2 funcref)
  (func $even (type $f)
    (if (result i64) (i32.eqz (local.get 0))
      (then (i64.add (local.get 1) (local.get 8)))
      (else
        (return_call_indirect (type $f)
          (i32.sub (local.get 0) (i32.const 1))
          (local.get 8) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
          (local.get 5) (local.get 6) (local.get 7) (local.get 9)
          (i32.const 1)))))
  (elem (i32.const 0) $even)
  (func (export "run") (param i32) (result i64)
    (return_call $even (local.get 0)
      (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
      (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (f64.const 0))))
(register "A" $A)

(module $B
  (type $f (func (param i32 i64 i64 i64 i64 i64 i64 i64 i64 f64) (result i64)))
  (table (import "A" "t") 2 funcref)
  (func $odd (type $f)
    (if (result i64) (i32.eqz (local.get 0))
      (then (unreachable))
      (else
        (return_call_indirect (type $f)
          (i32.sub (local.get 0) (i32.const 1))
          (local.get 8) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
          (local.get 5) (local.get 6) (local.get 7) (local.get 9)
          (i32.const 0)))))
  (elem (i32.const 1) $odd))

;; Each call turns the eight numbers by one place; a million is a multiple of eight.
(assert_return (invoke $A "run" (i32.const 0)) (i64.const 9))
(assert_return (invoke $A "run" (i32.const 2)) (i64.const 13))
(assert_return (invoke $A "run" (i32.const 1000000)) (i64.const 9))
(assert_trap (invoke $A "run" (i32.const 999999)) "unreachable")
