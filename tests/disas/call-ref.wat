;;! test = "optimize"

(module
  (type $t (func (param i32) (result i32)))
  (func (param i32 (ref null $t)) (result i32)
    (call_ref $t (local.get 0) (local.get 1)))
  (func (param i32 (ref $t)) (result i32)
    (call_ref $t (local.get 0) (local.get 1))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i64) -> i32 tail {
;;     region0 = 2 "table"
;;     region1 = 0 "context"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) -> i32 tail
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i64):
;; @0005                               v3 = load.i64 user14 aligned region0 v2
;; @0005                               v4 = load.i64 notrap aligned region0 v2+16
;; @0005                               v5 = icmp ne v4, v0
;; @0005                               brif v5, block1, block2
;;
;;                                 block1 cold:
;; @0005                               v6 = load.i64 notrap aligned region1 v0+8
;; @0005                               store notrap aligned region1 v6, v4+8
;; @0005                               store.i64 notrap aligned region1 v0, v4+24
;; @0005                               jump block2
;;
;;                                 block2:
;; @0005                               v7 = call_indirect.i64 sig0, v3(v4, v1)
;; @0007                               return v7
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i64) -> i32 tail {
;;     region0 = 2 "table"
;;     region1 = 0 "context"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) -> i32 tail
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i64):
;; @0005                               v3 = load.i64 user14 aligned region0 v2
;; @0005                               v4 = load.i64 notrap aligned region0 v2+16
;; @0005                               v5 = icmp ne v4, v0
;; @0005                               brif v5, block1, block2
;;
;;                                 block1 cold:
;; @0005                               v6 = load.i64 notrap aligned region1 v0+8
;; @0005                               store notrap aligned region1 v6, v4+8
;; @0005                               store.i64 notrap aligned region1 v0, v4+24
;; @0005                               jump block2
;;
;;                                 block2:
;; @0005                               v7 = call_indirect.i64 sig0, v3(v4, v1)
;; @0007                               return v7
;; }
