;;! test = "clif"
;;! flags = ["no-signals"]

;; Where signals are left to the host, every trap is a check and a call.
(module
  (memory 1)
  (func (param i32) (result i32)
    (i32.load (local.get 0)))
  (func (param i32 i32) (result i32)
    (i32.div_s (local.get 0) (local.get 1)))
  (func (param f32) (result i32)
    (i32.trunc_f32_u (local.get 0)))
  (func unreachable))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;     sig0 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:21 sig0
;;
;;                                 block0(v0: i64, v1: i32):
;;                                     v2 = get_stack_pointer.i64
;;                                     v3 = load.i64 notrap aligned region0 v0+8
;;                                     v4 = icmp ult v2, v3
;;                                     brif v4, block1, block2
;;
;;                                 block1 cold:
;;                                     v5 = iconst.i32 1
;;                                     call fn0(v0, v5)  ; v5 = 1
;;                                     trap user11
;;
;;                                 block2:
;; @0003                               v6 = uextend.i64 v1
;; @0003                               v7 = load.i64 notrap aligned region0 v0+64
;; @0003                               v8 = iconst.i64 4
;; @0003                               v9 = isub v7, v8  ; v8 = 4
;; @0003                               v10 = icmp ugt v6, v9
;; @0003                               brif v10, block3, block4
;;
;;                                 block3 cold:
;; @0003                               v11 = iconst.i32 2
;; @0003                               call fn0(v0, v11)  ; v11 = 2
;; @0003                               trap user11
;;
;;                                 block4:
;; @0003                               v12 = load.i64 notrap aligned region0 v0+56
;; @0003                               v13 = iadd v12, v6
;; @0003                               v14 = iconst.i64 0
;; @0003                               v15 = select_spectre_guard v10, v14, v13  ; v14 = 0
;; @0003                               v16 = load.i32 notrap little region1 v15
;; @0006                               return v16
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32) -> i32 tail {
;;     region0 = 0 "context"
;;     sig0 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:21 sig0
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;;                                     v3 = get_stack_pointer.i64
;;                                     v4 = load.i64 notrap aligned region0 v0+8
;;                                     v5 = icmp ult v3, v4
;;                                     brif v5, block1, block2
;;
;;                                 block1 cold:
;;                                     v6 = iconst.i32 1
;;                                     call fn0(v0, v6)  ; v6 = 1
;;                                     trap user11
;;
;;                                 block2:
;; @0005                               v7 = iconst.i32 0
;; @0005                               v8 = icmp.i32 eq v2, v7  ; v7 = 0
;; @0005                               brif v8, block3, block4
;;
;;                                 block3 cold:
;; @0005                               v9 = iconst.i32 9
;; @0005                               call fn0(v0, v9)  ; v9 = 9
;; @0005                               trap user11
;;
;;                                 block4:
;; @0005                               v10 = iconst.i32 -2147483648
;; @0005                               v11 = icmp.i32 eq v1, v10  ; v10 = -2147483648
;; @0005                               v12 = iconst.i32 -1
;; @0005                               v13 = icmp.i32 eq v2, v12  ; v12 = -1
;; @0005                               v14 = band v11, v13
;; @0005                               brif v14, block5, block6
;;
;;                                 block5 cold:
;; @0005                               v15 = iconst.i32 8
;; @0005                               call fn0(v0, v15)  ; v15 = 8
;; @0005                               trap user11
;;
;;                                 block6:
;; @0005                               v16 = sdiv.i32 v1, v2
;; @0006                               return v16
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, f32) -> i32 tail {
;;     region0 = 0 "context"
;;     sig0 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:21 sig0
;;
;;                                 block0(v0: i64, v1: f32):
;;                                     v2 = get_stack_pointer.i64
;;                                     v3 = load.i64 notrap aligned region0 v0+8
;;                                     v4 = icmp ult v2, v3
;;                                     brif v4, block1, block2
;;
;;                                 block1 cold:
;;                                     v5 = iconst.i32 1
;;                                     call fn0(v0, v5)  ; v5 = 1
;;                                     trap user11
;;
;;                                 block2:
;; @0003                               v6 = fcmp.f32 uno v1, v1
;; @0003                               brif v6, block3, block4
;;
;;                                 block3 cold:
;; @0003                               v7 = iconst.i32 10
;; @0003                               call fn0(v0, v7)  ; v7 = 10
;; @0003                               trap user11
;;
;;                                 block4:
;; @0003                               v8 = f32const -0x1.000000p0
;; @0003                               v9 = f32const 0x1.000000p32
;; @0003                               v10 = fcmp.f32 le v1, v8  ; v8 = -0x1.000000p0
;; @0003                               v11 = fcmp.f32 ge v1, v9  ; v9 = 0x1.000000p32
;; @0003                               v12 = bor v10, v11
;; @0003                               brif v12, block5, block6
;;
;;                                 block5 cold:
;; @0003                               v13 = iconst.i32 8
;; @0003                               call fn0(v0, v13)  ; v13 = 8
;; @0003                               trap user11
;;
;;                                 block6:
;; @0003                               v14 = fcvt_to_uint_sat.i32 v1
;; @0004                               return v14
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx) tail {
;;     region0 = 0 "context"
;;     sig0 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:21 sig0
;;
;;                                 block0(v0: i64):
;;                                     v1 = get_stack_pointer.i64
;;                                     v2 = load.i64 notrap aligned region0 v0+8
;;                                     v3 = icmp ult v1, v2
;;                                     brif v3, block1, block2
;;
;;                                 block1 cold:
;;                                     v4 = iconst.i32 1
;;                                     call fn0(v0, v4)  ; v4 = 1
;;                                     trap user11
;;
;;                                 block2:
;; @0001                               nop
;; @0001                               v5 = iconst.i32 11
;; @0001                               call fn0(v0, v5)  ; v5 = 11
;; @0001                               trap user11
;; }
