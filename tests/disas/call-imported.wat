;;! test = "optimize"

;; Code and context of an import; stack limit and own context are handed to it.
(module
  (import "" "f" (func $f (param i32) (result i32)))
  (func (param i32) (result i32)
    (call $f (local.get 0))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     region0 = 0 "context"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) -> i32 tail
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = load.i64 notrap aligned readonly can_move region0 v0+64
;; @0003                               v3 = load.i64 notrap aligned readonly can_move region0 v0+72
;; @0003                               v4 = load.i64 notrap aligned region0 v0+8
;; @0003                               store notrap aligned region0 v4, v3+8
;; @0003                               store notrap aligned region0 v0, v3+24
;; @0003                               v5 = call_indirect sig0, v2(v3, v1)
;; @0005                               return v5
;; }
