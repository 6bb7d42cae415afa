;;! test = "optimize"

;; An imported memory is reached through a pointer; its base is copied to the context where it cannot move.
(module
  (import "" "m" (memory 1))
  (func (param i32) (result i32)
    (i32.load (local.get 0)))
  (func (result i32)
    (memory.size)))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = uextend.i64 v1
;; @0003                               v3 = load.i64 notrap aligned readonly can_move region1 v0+64
;; @0003                               v4 = iadd v3, v2
;; @0003                               v5 = load.i32 little region0 v4
;; @0006                               return v5
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx) -> i32 tail {
;;     region0 = 0 "context"
;;
;;                                 block0(v0: i64):
;; @0001                               v1 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0001                               v2 = load.i64 notrap aligned region0 v1+8
;; @0001                               v3 = iconst.i64 16
;; @0001                               v4 = ushr v2, v3  ; v3 = 16
;; @0001                               v5 = ireduce.i32 v4
;; @0003                               return v5
;; }
