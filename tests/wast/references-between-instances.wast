;; References to host objects in globals and tables that instances share.

(module $A
  (table (export "t") 3 externref)
  (global (export "g") (mut externref) (ref.null extern))
  (func (export "keep") (param externref)
    (table.set (i32.const 1) (local.get 0))
    (global.set 0 (local.get 0))))
(register "A" $A)
(assert_return (invoke $A "keep" (ref.extern 5)))

(module $B
  (table (import "A" "t") 3 externref)
  (global (import "A" "g") (mut externref))
  (func (export "from-table") (param i32) (result externref) (table.get (local.get 0)))
  (func (export "from-global") (result externref) (global.get 0))
  (func (export "both") (result externref externref) (table.get (i32.const 1)) (global.get 0))
  (func (export "grow") (param externref) (result i32) (table.grow (local.get 0) (i32.const 100)))
  (func (export "spread") (table.fill (i32.const 3) (global.get 0) (i32.const 50))))

(assert_return (invoke $B "from-table" (i32.const 0)) (ref.null extern))
(assert_return (invoke $B "from-table" (i32.const 1)) (ref.extern 5))
(assert_return (invoke $B "from-global") (ref.extern 5))
(assert_return (invoke $B "both") (ref.extern 5) (ref.extern 5))
(assert_return (invoke $B "grow" (ref.extern 6)) (i32.const 3))
(assert_return (invoke $B "spread"))
(assert_return (invoke $A "keep" (ref.extern 7)))
(assert_return (invoke $B "from-table" (i32.const 40)) (ref.extern 5))
(assert_return (invoke $B "from-table" (i32.const 99)) (ref.extern 6))
(assert_return (invoke $B "both") (ref.extern 7) (ref.extern 7))
(assert_trap (invoke $B "from-table" (i32.const 103)) "out of bounds table access")
