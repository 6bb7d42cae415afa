;;! test = "optimize"
;;! flags = ["epochs"]

;; The epoch is compared at function entries and loop headers.
(module
  (func (param i32)
    (loop $again
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 4 "store"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx) -> i64 tail
;;     fn0 = colocated u3:20 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;;                                     v2 = load.i64 notrap aligned readonly can_move region0 v0+16
;;                                     v3 = load.i64 notrap aligned readonly can_move region1 v2+56
;;                                     v4 = atomic_load.i64 notrap aligned v3
;;                                     v5 = load.i64 notrap aligned region1 v2+48
;;                                     v6 = icmp uge v4, v5
;;                                     brif v6, block1, block2
;;
;;                                 block1 cold:
;;                                     v7 = call fn0(v0)
;;                                     jump block2
;;
;;                                 block2:
;; @0005                               v16 = iconst.i32 1
;; @0001                               jump block3(v1)
;;
;;                                 block3(v15: i32):
;; @0001                               v10 = atomic_load.i64 notrap aligned v3
;; @0001                               v11 = load.i64 notrap aligned region1 v2+48
;; @0001                               v12 = icmp uge v10, v11
;; @0001                               brif v12, block4, block5
;;
;;                                 block4 cold:
;; @0001                               v13 = call fn0(v0)
;; @0001                               jump block5
;;
;;                                 block5:
;;                                     v19 = iconst.i32 1
;;                                     v20 = isub.i32 v15, v19  ; v19 = 1
;; @000a                               brif v20, block3(v20), block6
;;
;;                                 block6:
;; @000d                               return
;; }
