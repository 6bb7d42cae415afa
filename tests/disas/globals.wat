;;! test = "optimize"

;; Own globals are inline in the context, imported ones behind a pointer. A global that never changes is a constant load.
(module
  (import "" "g" (global $imported (mut i32)))
  (import "" "c" (global $constant i64))
  (global $own (mut i32) (i32.const 1))
  (global $vector (mut v128) (v128.const i64x2 1 2))
  (func (result i32)
    (global.set $own (i32.add (global.get $own) (global.get $imported)))
    (global.get $own))
  (func (result i64)
    (i64.add (global.get $constant) (global.get $constant)))
  (func (param v128)
    (global.set $vector (local.get 0))))
;; function wasm[0]:
;; function u0:0(i64 vmctx) -> i32 tail {
;;     region0 = 3 "global"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64):
;; @0001                               v1 = load.i32 notrap aligned little region0 v0+64
;; @0003                               v2 = load.i64 notrap aligned readonly can_move region1 v0+96
;; @0003                               v3 = load.i32 notrap aligned little region0 v2
;; @0005                               v4 = iadd v1, v3
;; @0006                               store notrap aligned little region0 v4, v0+64
;; @000a                               return v4
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx) -> i64 tail {
;;     region0 = 3 "global"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64):
;; @0001                               v1 = load.i64 notrap aligned readonly can_move region1 v0+104
;; @0001                               v2 = load.i64 notrap aligned readonly can_move little region0 v1
;; @0005                               v5 = iadd v2, v2
;; @0006                               return v5
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i8x16) tail {
;;     region0 = 3 "global"
;;
;;                                 block0(v0: i64, v1: i8x16):
;; @0003                               store notrap aligned little region0 v1, v0+80
;; @0005                               return
;; }
