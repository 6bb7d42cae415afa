;;! test = "optimize"
;;! flags = ["memory-reservation=0"]

;; Nothing reserved: the length is compared, and the base is loaded after each call.
(module
  (import "" "" (func $f))
  (memory 1)
  (func (param i32) (result i32)
    (i32.load offset=4 (local.get 0)))
  (func (param i32 i32)
    (i32.store offset=0x10000 (local.get 0) (local.get 1))
    (call $f)
    (i32.store8 (local.get 0) (local.get 1))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = uextend.i64 v1
;; @0003                               v3 = load.i64 notrap aligned region0 v0+64
;; @0003                               v4 = iconst.i64 8
;; @0003                               v5 = isub v3, v4  ; v4 = 8
;; @0003                               v6 = icmp ugt v2, v5
;; @0003                               v7 = load.i64 notrap aligned region0 v0+56
;; @0003                               v8 = iadd v7, v2
;; @0003                               v9 = iconst.i64 4
;; @0003                               v10 = iadd v8, v9  ; v9 = 4
;; @0003                               v11 = iconst.i64 0
;; @0003                               v12 = select_spectre_guard v6, v11, v10  ; v11 = 0
;; @0003                               v13 = load.i32 little region1 v12
;; @0006                               return v13
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx) tail
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = uextend.i64 v1
;; @0005                               v4 = load.i64 notrap aligned region0 v0+64
;; @0005                               v5 = iconst.i64 0x0001_0004
;; @0005                               v6 = iadd v3, v5  ; v5 = 0x0001_0004
;; @0005                               v7 = icmp ugt v6, v4
;; @0005                               v8 = load.i64 notrap aligned region0 v0+56
;; @0005                               v9 = iadd v8, v3
;; @0005                               v10 = iconst.i64 0x0001_0000
;; @0005                               v11 = iadd v9, v10  ; v10 = 0x0001_0000
;; @0005                               v12 = iconst.i64 0
;; @0005                               v13 = select_spectre_guard v7, v12, v11  ; v12 = 0
;; @0005                               store little region1 v2, v13
;; @000a                               v14 = load.i64 notrap aligned readonly can_move region0 v0+80
;; @000a                               v15 = load.i64 notrap aligned readonly can_move region0 v0+88
;; @000a                               v16 = load.i64 notrap aligned region0 v0+8
;; @000a                               store notrap aligned region0 v16, v15+8
;; @000a                               store notrap aligned region0 v0, v15+24
;; @000a                               call_indirect sig0, v14(v15)
;; @0010                               v18 = load.i64 notrap aligned region0 v0+64
;; @0010                               v19 = iconst.i64 1
;; @0010                               v20 = isub v18, v19  ; v19 = 1
;; @0010                               v21 = icmp ugt v3, v20
;; @0010                               v22 = load.i64 notrap aligned region0 v0+56
;; @0010                               v23 = iadd v22, v3
;; @0010                               v27 = select_spectre_guard v21, v12, v23  ; v12 = 0
;; @0010                               istore8 little region1 v2, v27
;; @0013                               return
;; }
