;;! test = "asm"
;;! flags = ["inlining"]

;; A caller of leaves only is a leaf: it has no stack check. The tables name the bodies that addresses belong to.
(module
  (memory 1)
  (func $load (param i32) (result i32)
    (i32.load (local.get 0)))
  (func (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.add (local.get 1) (call $load (local.get 0))))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 4)))))
    (local.get 1)))
