;;! test = "optimize"
;;! flags = ["fuel"]

;; Fuel is counted in blocks and checked at function entries and loop headers.
(module
  (import "" "f" (func $f))
  (memory 1)
  (func (param i32)
    (loop $again
      (i32.store (local.get 0) (i32.const 1))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (call $f)))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 4 "store"
;;     region2 = 1 "heap"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx) tail
;;     sig1 = (i64 vmctx) tail
;;     fn0 = colocated u3:19 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;;                                     v2 = load.i64 notrap aligned readonly can_move region0 v0+16
;;                                     v3 = load.i64 notrap aligned region1 v2+40
;;                                     v4 = iconst.i64 0
;;                                     v5 = icmp sgt v3, v4  ; v4 = 0
;;                                     brif v5, block1, block2
;;
;;                                 block1 cold:
;;                                     call fn0(v0)
;;                                     jump block2
;;
;;                                 block2:
;; @0005                               v12 = iconst.i32 1
;; @0007                               v15 = iconst.i64 3
;; @0007                               v18 = load.i64 notrap aligned readonly can_move region0 v0+56
;;                                     v35 = iconst.i64 8
;; @0001                               jump block3(v1)
;;
;;                                 block3(v11: i32):
;; @0001                               v7 = load.i64 notrap aligned region1 v2+40
;;                                     v63 = iconst.i64 0
;;                                     v64 = icmp sgt v7, v63  ; v63 = 0
;; @0001                               brif v64, block4, block5
;;
;;                                 block4 cold:
;; @0001                               call fn0(v0)
;; @0001                               jump block5
;;
;;                                 block5:
;; @0007                               v14 = load.i64 notrap aligned region1 v2+40
;;                                     v65 = iconst.i64 3
;;                                     v66 = iadd v14, v65  ; v65 = 3
;; @0007                               store notrap aligned region1 v66, v2+40
;; @0007                               v17 = uextend.i64 v11
;; @0007                               v19 = iadd.i64 v18, v17
;;                                     v67 = iconst.i32 1
;; @0007                               store little region2 v67, v19  ; v67 = 1
;;                                     v68 = iconst.i64 8
;;                                     v69 = iadd v14, v68  ; v68 = 8
;; @0011                               store notrap aligned region1 v69, v2+40
;;                                     v70 = isub.i32 v11, v67  ; v67 = 1
;; @0011                               brif v70, block3(v70), block6
;;
;;                                 block6:
;;                                     v43 = iconst.i64 9
;;                                     v48 = iadd.i64 v14, v43  ; v43 = 9
;; @0014                               store notrap aligned region1 v48, v2+40
;; @0014                               v31 = load.i64 notrap aligned readonly can_move region0 v0+80
;; @0014                               v32 = load.i64 notrap aligned readonly can_move region0 v0+88
;; @0014                               v33 = load.i64 notrap aligned region0 v0+8
;; @0014                               store notrap aligned region0 v33, v32+8
;; @0014                               store.i64 notrap aligned region0 v0, v32+24
;; @0014                               call_indirect sig1, v31(v32)
;; @0016                               return
;; }
