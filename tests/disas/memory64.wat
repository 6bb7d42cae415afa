;;! test = "optimize"

;; A 64-bit memory is checked whatever is reserved; an offset may carry the sum past 64 bits.
(module
  (memory i64 1)
  (func (param i64) (result i64)
    (i64.load (local.get 0)))
  (func (param i64) (result i64)
    (i64.load offset=0x10000 (local.get 0)))
  (func (param i64) (result i64)
    (i64.load offset=0xffffffffffffffff (local.get 0))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i64) -> i64 tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;
;;                                 block0(v0: i64, v1: i64):
;; @0003                               v2 = load.i64 notrap aligned region0 v0+64
;; @0003                               v3 = iconst.i64 8
;; @0003                               v4 = isub v2, v3  ; v3 = 8
;; @0003                               v5 = icmp ugt v1, v4
;; @0003                               v6 = load.i64 notrap aligned region0 v0+56
;; @0003                               v7 = iadd v6, v1
;; @0003                               v8 = iconst.i64 0
;; @0003                               v11 = select_spectre_guard v5, v8, v7  ; v8 = 0
;; @0003                               v12 = load.i64 little region1 v11
;; @0006                               return v12
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i64) -> i64 tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;
;;                                 block0(v0: i64, v1: i64):
;; @0003                               v2 = load.i64 notrap aligned region0 v0+64
;; @0003                               v3 = iconst.i64 0x0001_0008
;; @0003                               v4 = iadd v1, v3  ; v3 = 0x0001_0008
;; @0003                               v5 = icmp ugt v4, v2
;; @0003                               v6 = icmp ult v4, v1
;; @0003                               v7 = bor v5, v6
;; @0003                               v8 = load.i64 notrap aligned region0 v0+56
;; @0003                               v9 = iadd v8, v1
;; @0003                               v10 = iconst.i64 0x0001_0000
;; @0003                               v11 = iadd v9, v10  ; v10 = 0x0001_0000
;; @0003                               v12 = iconst.i64 0
;; @0003                               v13 = select_spectre_guard v7, v12, v11  ; v12 = 0
;; @0003                               v14 = load.i64 little region1 v13
;; @0008                               return v14
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i64) -> i64 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i64):
;; @0003                               v3 = load.i64 notrap aligned region1 v0+56
;; @0003                               v7 = iconst.i64 0
;; @0003                               v9 = load.i64 little region0 v7  ; v7 = 0
;; @000f                               return v9
;; }
