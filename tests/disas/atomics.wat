;;! test = "clif"

(module
  (memory 1 1 shared)
  (func (param i32) (result i32)
    (i32.atomic.load offset=4 (local.get 0)))
  (func (param i32 i64)
    (i64.atomic.store16 (local.get 0) (local.get 1)))
  (func (param i32 i32) (result i32)
    (i32.atomic.rmw8.add_u (local.get 0) (local.get 1)))
  (func (param i32 i64) (result i64)
    (i64.atomic.rmw.xchg (local.get 0) (local.get 1)))
  (func (param i32 i32 i32) (result i32)
    (i32.atomic.rmw16.cmpxchg_u offset=1 (local.get 0) (local.get 1) (local.get 2)))
  (func (atomic.fence)))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = iconst.i32 0
;; @0003                               v3 = iadd v1, v2  ; v2 = 0
;; @0003                               v4 = iconst.i32 3
;; @0003                               v5 = band v3, v4  ; v4 = 3
;; @0003                               v6 = iconst.i32 0
;; @0003                               v7 = icmp ne v5, v6  ; v6 = 0
;; @0003                               trapnz v7, user3
;; @0003                               v8 = uextend.i64 v1
;; @0003                               v9 = load.i64 notrap aligned readonly can_move region1 v0+64
;; @0003                               v10 = iadd v9, v8
;; @0003                               v11 = iconst.i64 4
;; @0003                               v12 = iadd v10, v11  ; v11 = 4
;; @0003                               v13 = atomic_load.i32 aligned little region0 v12
;; @0007                               return v13
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i64) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i64):
;; @0005                               v3 = iconst.i32 0
;; @0005                               v4 = iadd v1, v3  ; v3 = 0
;; @0005                               v5 = iconst.i32 1
;; @0005                               v6 = band v4, v5  ; v5 = 1
;; @0005                               v7 = iconst.i32 0
;; @0005                               v8 = icmp ne v6, v7  ; v7 = 0
;; @0005                               trapnz v8, user3
;; @0005                               v9 = uextend.i64 v1
;; @0005                               v10 = load.i64 notrap aligned readonly can_move region1 v0+64
;; @0005                               v11 = iadd v10, v9
;; @0005                               v12 = ireduce.i16 v2
;; @0005                               atomic_store aligned little region0 v12, v11
;; @0009                               return
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = uextend.i64 v1
;; @0005                               v4 = load.i64 notrap aligned readonly can_move region1 v0+64
;; @0005                               v5 = iadd v4, v3
;; @0005                               v6 = ireduce.i8 v2
;; @0005                               v7 = atomic_rmw.i8 add v5, v6
;; @0005                               v8 = uextend.i32 v7
;; @0009                               return v8
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i32, i64) -> i64 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i64):
;; @0005                               v3 = iconst.i32 0
;; @0005                               v4 = iadd v1, v3  ; v3 = 0
;; @0005                               v5 = iconst.i32 7
;; @0005                               v6 = band v4, v5  ; v5 = 7
;; @0005                               v7 = iconst.i32 0
;; @0005                               v8 = icmp ne v6, v7  ; v7 = 0
;; @0005                               trapnz v8, user3
;; @0005                               v9 = uextend.i64 v1
;; @0005                               v10 = load.i64 notrap aligned readonly can_move region1 v0+64
;; @0005                               v11 = iadd v10, v9
;; @0005                               v12 = atomic_rmw.i64 xchg v11, v2
;; @0009                               return v12
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx, i32, i32, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;; @0007                               v4 = iconst.i32 1
;; @0007                               v5 = iadd v1, v4  ; v4 = 1
;; @0007                               v6 = iconst.i32 1
;; @0007                               v7 = band v5, v6  ; v6 = 1
;; @0007                               v8 = iconst.i32 0
;; @0007                               v9 = icmp ne v7, v8  ; v8 = 0
;; @0007                               trapnz v9, user3
;; @0007                               v10 = uextend.i64 v1
;; @0007                               v11 = load.i64 notrap aligned readonly can_move region1 v0+64
;; @0007                               v12 = iadd v11, v10
;; @0007                               v13 = iconst.i64 1
;; @0007                               v14 = iadd v12, v13  ; v13 = 1
;; @0007                               v15 = ireduce.i16 v2
;; @0007                               v16 = ireduce.i16 v3
;; @0007                               v17 = atomic_cas v14, v15, v16
;; @0007                               v18 = uextend.i32 v17
;; @000b                               return v18
;; }
;; function wasm[5]:
;; function u0:5(i64 vmctx) tail {
;;                                 block0(v0: i64):
;; @0001                               fence
;; @0004                               return
;; }
