;;! test = "optimize"

;; A 32-bit memory with its whole range reserved: no bounds check while offset and size stay within the guard, and the
;; base is loaded once.
(module
  (memory 1)
  (func (param i32) (result i32)
    (i32.add (i32.load offset=4 (local.get 0)) (i32.load8_s (local.get 0))))
  (func (param i32 i64)
    (i64.store16 offset=65536 (local.get 0) (local.get 1)))
  (func (param i32) (result f64)
    (f64.load offset=0xfffffff0 (local.get 0))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = uextend.i64 v1
;; @0003                               v3 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0003                               v4 = iadd v3, v2
;; @0003                               v5 = load.i32 little region0 v4+4
;; @0008                               v9 = sload8.i32 little region0 v4
;; @0008                               v10 = iadd v5, v9
;; @000c                               return v10
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i64) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;     gv0 = vmctx
;;     gv1 = load.i32 notrap aligned gv0
;;     gv2 = load.i64 notrap aligned gv0
;;
;;                                 block0(v0: i64, v1: i32, v2: i64):
;; @0005                               v3 = uextend.i64 v1
;; @0005                               v4 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0005                               v5 = iadd v4, v3
;; @0005                               v6 = iconst.i64 0x0001_0000
;; @0005                               v7 = iadd v5, v6  ; v6 = 0x0001_0000
;; @0005                               istore16 little region0 v2, v5+0x0001_0000
;; @000a                               return
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32) -> f64 tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = uextend.i64 v1
;; @0003                               v3 = load.i64 notrap aligned region0 v0+64
;; @0003                               v4 = iconst.i64 0xffff_fff8
;; @0003                               v5 = iadd v2, v4  ; v4 = 0xffff_fff8
;; @0003                               v6 = icmp ugt v5, v3
;; @0003                               v7 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0003                               v8 = iadd v7, v2
;; @0003                               v9 = iconst.i64 0xffff_fff0
;; @0003                               v10 = iadd v8, v9  ; v9 = 0xffff_fff0
;; @0003                               v11 = iconst.i64 0
;; @0003                               v12 = select_spectre_guard v6, v11, v10  ; v11 = 0
;; @0003                               v13 = load.f64 little region1 v12
;; @000a                               return v13
;; }
