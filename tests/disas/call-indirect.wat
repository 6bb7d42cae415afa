;;! test = "optimize"

;; Bounds, then one comparison of the type number: null and elements that are not built yet take the slow path.
(module
  (type $t (func (param i32) (result i32)))
  (table 10 20 funcref)
  (func (param i32 i32) (result i32)
    (call_indirect (type $t) (local.get 0) (local.get 1))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i32) -> i32 tail {
;;     region0 = 0 "context"
;;     region1 = 2 "table"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32, i64, i32) -> i64 tail
;;     sig1 = (i64 vmctx, i32) -> i32 tail
;;     fn0 = colocated u3:14 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = uextend.i64 v2
;; @0005                               v4 = load.i64 notrap aligned region0 v0+64
;; @0005                               v5 = icmp uge v3, v4
;; @0005                               v6 = load.i64 notrap aligned region0 v0+56
;; @0005                               v7 = iconst.i64 5
;; @0005                               v8 = ishl v3, v7  ; v7 = 5
;; @0005                               v9 = iadd v6, v8
;; @0005                               v10 = iconst.i64 0
;; @0005                               v11 = select_spectre_guard v5, v10, v9  ; v10 = 0
;; @0005                               v12 = load.i32 user5 aligned region1 v11+8
;; @0005                               v13 = load.i64 notrap aligned region1 v11
;; @0005                               v14 = load.i32 notrap aligned region0 v0+84
;; @0005                               v15 = icmp ne v12, v14
;; @0005                               brif v15, block1, block2(v13)
;;
;;                                 block1 cold:
;; @0005                               v17 = iconst.i32 0
;; @0005                               v18 = call fn0(v0, v17, v3, v14)  ; v17 = 0
;; @0005                               v19 = load.i64 notrap aligned region1 v18
;; @0005                               jump block2(v19)
;;
;;                                 block2(v16: i64):
;; @0005                               v20 = call_indirect sig1, v16(v0, v1)
;; @0008                               return v20
;; }
