;;! test = "clif"
;;! flags = ["inlining"]

;; Bodies stand in place of calls; locations say whose they are. A function is put into itself three times. A tail call in
;; an inlined body is a call.
(module
  (memory 1)
  (func $get (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const -1))))
    (i32.load (local.get 0)))
  (func $two (param i32) (result i32)
    (i32.add (call $get (local.get 0)) (call $get (i32.const 8))))
  (func $down (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (call $down (i32.sub (local.get 0) (i32.const 1))))
      (else (i32.const 5))))
  (func $tail (param i32) (result i32)
    (return_call $down (local.get 0)))
  (func (param i32) (result i32)
    (i32.add (call $tail (local.get 0)) (i32.const 1))))
