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
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:21 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = uextend.i64 v1
;; @0003                               v3 = load.i64 notrap aligned region0 v0+56
;; @0003                               v4 = iconst.i64 4
;; @0003                               v5 = isub v3, v4  ; v4 = 4
;; @0003                               v6 = icmp ugt v2, v5
;; @0003                               brif v6, block1, block2
;;
;;                                 block1 cold:
;; @0003                               v7 = iconst.i32 2
;; @0003                               call fn0(v0, v7)  ; v7 = 2
;; @0003                               trap user11
;;
;;                                 block2:
;; @0003                               v8 = load.i64 notrap aligned region0 v0+48
;; @0003                               v9 = iadd v8, v2
;; @0003                               v10 = iconst.i64 0
;; @0003                               v11 = select_spectre_guard v6, v10, v9  ; v10 = 0
;; @0003                               v12 = load.i32 notrap little region1 v11
;; @0006                               return v12
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:21 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = iconst.i32 0
;; @0005                               v4 = icmp eq v2, v3  ; v3 = 0
;; @0005                               brif v4, block1, block2
;;
;;                                 block1 cold:
;; @0005                               v5 = iconst.i32 9
;; @0005                               call fn0(v0, v5)  ; v5 = 9
;; @0005                               trap user11
;;
;;                                 block2:
;; @0005                               v6 = iconst.i32 -2147483648
;; @0005                               v7 = icmp.i32 eq v1, v6  ; v6 = -2147483648
;; @0005                               v8 = iconst.i32 -1
;; @0005                               v9 = icmp.i32 eq v2, v8  ; v8 = -1
;; @0005                               v10 = band v7, v9
;; @0005                               brif v10, block3, block4
;;
;;                                 block3 cold:
;; @0005                               v11 = iconst.i32 8
;; @0005                               call fn0(v0, v11)  ; v11 = 8
;; @0005                               trap user11
;;
;;                                 block4:
;; @0005                               v12 = sdiv.i32 v1, v2
;; @0006                               return v12
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, f32) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:21 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: f32):
;; @0003                               v2 = fcmp uno v1, v1
;; @0003                               brif v2, block1, block2
;;
;;                                 block1 cold:
;; @0003                               v3 = iconst.i32 10
;; @0003                               call fn0(v0, v3)  ; v3 = 10
;; @0003                               trap user11
;;
;;                                 block2:
;; @0003                               v4 = f32const -0x1.000000p0
;; @0003                               v5 = f32const 0x1.000000p32
;; @0003                               v6 = fcmp.f32 le v1, v4  ; v4 = -0x1.000000p0
;; @0003                               v7 = fcmp.f32 ge v1, v5  ; v5 = 0x1.000000p32
;; @0003                               v8 = bor v6, v7
;; @0003                               brif v8, block3, block4
;;
;;                                 block3 cold:
;; @0003                               v9 = iconst.i32 8
;; @0003                               call fn0(v0, v9)  ; v9 = 8
;; @0003                               trap user11
;;
;;                                 block4:
;; @0003                               v10 = fcvt_to_uint_sat.i32 v1
;; @0004                               return v10
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx) tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:21 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64):
;; @0001                               v1 = iconst.i32 11
;; @0001                               call fn0(v0, v1)  ; v1 = 11
;; @0001                               trap user11
;; }
