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
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = iconst.i32 0
;; @0003                               v3 = icmp eq v1, v2  ; v2 = 0
;; @0003                               v4 = uextend.i32 v3
;; @0004                               brif v4, block1, block2
;;
;;                                 block1:
;; @0006                               v5 = iconst.i32 -1
;; @0008                               return v5  ; v5 = -1
;;
;;                                 block2:
;; @000c                               v6 = uextend.i64 v1
;; @000c                               v7 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @000c                               v8 = iadd v7, v6
;; @000c                               v9 = load.i32 little region0 v8
;; @000f                               return v9
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32):
;; @000f                               v2 = iconst.i32 0
;; @000f                               v3 = icmp eq v1, v2  ; v2 = 0
;; @000f                               v4 = uextend.i32 v3
;; @0010                               brif v4, block1, block2
;;
;;                                 block1:
;; @0012                               v5 = iconst.i32 -1
;; @0014                               jump block3(v5)  ; v5 = -1
;;
;;                                 block2:
;; @0018                               v7 = uextend.i64 v1
;; @0018                               v8 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0018                               v9 = iadd v8, v7
;; @0018                               v10 = load.i32 little region0 v9
;; @001b                               jump block3(v10)
;;
;;                                 block3(v6: i32):
;; @0005                               v11 = iconst.i32 8
;; @0020                               v12 = iconst.i32 0
;; @0020                               v13 = icmp eq v11, v12  ; v11 = 8, v12 = 0
;; @0020                               v14 = uextend.i32 v13
;; @0021                               brif v14, block4, block5
;;
;;                                 block4:
;; @0023                               v15 = iconst.i32 -1
;; @0025                               jump block6(v15)  ; v15 = -1
;;
;;                                 block5:
;; @0029                               v17 = uextend.i64 v11  ; v11 = 8
;; @0029                               v18 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0029                               v19 = iadd v18, v17
;; @0029                               v20 = load.i32 little region0 v19
;; @002c                               jump block6(v20)
;;
;;                                 block6(v16: i32):
;; @0009                               v21 = iadd.i32 v6, v16
;; @000a                               return v21
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) -> i32 tail
;;     fn0 = colocated u0:2 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               brif v1, block1, block2
;;
;;                                 block1:
;; @0007                               v2 = iconst.i32 1
;; @0009                               v3 = isub.i32 v1, v2  ; v2 = 1
;; @0015                               brif v3, block3, block4
;;
;;                                 block3:
;; @0019                               v4 = iconst.i32 1
;; @001b                               v5 = isub.i32 v3, v4  ; v4 = 1
;; @0027                               brif v5, block5, block6
;;
;;                                 block5:
;; @002b                               v6 = iconst.i32 1
;; @002d                               v7 = isub.i32 v5, v6  ; v6 = 1
;; @0039                               brif v7, block7, block8
;;
;;                                 block7:
;; @003d                               v8 = iconst.i32 1
;; @003f                               v9 = isub.i32 v7, v8  ; v8 = 1
;; @0040                               v10 = call fn0(v0, v9)
;; @0042                               jump block9(v10)
;;
;;                                 block8:
;; @0043                               v12 = iconst.i32 5
;; @0045                               jump block9(v12)  ; v12 = 5
;;
;;                                 block9(v11: i32):
;; @0030                               jump block10(v11)
;;
;;                                 block6:
;; @0031                               v14 = iconst.i32 5
;; @0033                               jump block10(v14)  ; v14 = 5
;;
;;                                 block10(v13: i32):
;; @001e                               jump block11(v13)
;;
;;                                 block4:
;; @001f                               v16 = iconst.i32 5
;; @0021                               jump block11(v16)  ; v16 = 5
;;
;;                                 block11(v15: i32):
;; @000c                               jump block12(v15)
;;
;;                                 block2:
;; @000d                               v18 = iconst.i32 5
;; @000f                               jump block12(v18)  ; v18 = 5
;;
;;                                 block12(v17: i32):
;; @0010                               return v17
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i32) -> i32 tail {
;;     sig0 = (i64 vmctx, i32) -> i32 tail
;;     fn0 = colocated u0:2 sig0
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               return_call fn0(v0, v1)
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx, i32) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) -> i32 tail
;;     fn0 = colocated u0:2 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = call fn0(v0, v1)
;; @000d                               jump block1(v2)
;;
;;                                 block1(v3: i32):
;; @0005                               v4 = iconst.i32 1
;; @0007                               v5 = iadd v3, v4  ; v4 = 1
;; @0008                               return v5
;; }
