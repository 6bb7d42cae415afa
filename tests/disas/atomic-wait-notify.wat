;;! test = "clif"

;; Calls of the runtime with the effective address.
(module
  (memory 1 1 shared)
  (memory $large i64 1 1 shared)
  (func (param i32 i32 i64) (result i32)
    (memory.atomic.wait32 offset=8 (local.get 0) (local.get 1) (local.get 2)))
  (func (param i64 i32) (result i32)
    (memory.atomic.notify $large offset=8 (local.get 0) (local.get 1))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i32, i64) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32, i64, i32, i64) -> i64 tail
;;     fn0 = colocated u3:16 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i64):
;; @0007                               v4 = iconst.i32 0
;; @0007                               v5 = uextend.i64 v1
;; @0007                               v6 = iconst.i64 8
;; @0007                               v7 = iadd v5, v6  ; v6 = 8
;; @0007                               v8 = call fn0(v0, v4, v7, v2, v3)  ; v4 = 0
;; @0007                               v9 = ireduce.i32 v8
;; @000b                               return v9
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i64, i32) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32, i64, i32) -> i64 tail
;;     fn0 = colocated u3:18 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i64, v2: i32):
;; @0005                               v3 = iconst.i32 1
;; @0005                               v4 = iconst.i64 8
;; @0005                               v5 = iadd v1, v4  ; v4 = 8
;; @0005                               v6 = icmp ult v5, v1
;; @0005                               trapnz v6, heap_oob
;; @0005                               v7 = call fn0(v0, v3, v5, v2)  ; v3 = 1
;; @0005                               v8 = ireduce.i32 v7
;; @000a                               return v8
;; }
