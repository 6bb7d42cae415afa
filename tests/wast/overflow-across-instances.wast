;; A stack that overflows in calls that go back and forth between instances is a trap, and everything works after it.

(module $A
  (table (export "t") 2 funcref)
  (func $even (param i32) (result i32)
    (i32.add (i32.const 1)
      (call_indirect (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)) (i32.const 1))))
  (func (export "deep") (result i32) (call $even (i32.const 0)))
  (func (export "shallow") (result i32) (i32.const 7))
  (elem (i32.const 0) $even))
(register "A" $A)

(module $B
  (table (import "A" "t") 2 funcref)
  (func $odd (param i32) (result i32)
    (i32.add (i32.const 1)
      (call_indirect (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)) (i32.const 0))))
  (elem (i32.const 1) $odd))

(assert_exhaustion (invoke $A "deep") "call stack exhausted")
(assert_return (invoke $A "shallow") (i32.const 7))
(assert_exhaustion (invoke $A "deep") "call stack exhausted")
(assert_return (invoke $A "shallow") (i32.const 7))

;; A frame that is large in itself.
(module
  (func $f (param i64) (result i64)
    (local v128 v128 v128 v128 v128 v128 v128 v128)
    (local.set 1 (i64x2.splat (local.get 0)))
    (local.set 2 (i64x2.add (local.get 1) (local.get 1)))
    (local.set 3 (i64x2.add (local.get 1) (local.get 2)))
    (local.set 0 (call $f (i64.add (local.get 0) (i64.const 1))))
    (i64.add (local.get 0)
      (i64x2.extract_lane 0 (i64x2.add (local.get 1) (i64x2.add (local.get 2) (local.get 3))))))
  (func (export "deep") (result i64) (call $f (i64.const 0))))
(assert_exhaustion (invoke "deep") "call stack exhausted")
