;;! test = "clif"
;;! flags = ["fuel"]

;; What takes fuel is left to the runtime: 64 bytes and more. So are memories whose accesses are checked.
(module
  (memory 1)
  (memory $checked i64 1)
  (func (param i32 i32)
    (memory.copy (local.get 0) (local.get 1) (i32.const 64)))
  (func (param i32 i32 i32)
    (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func (param i64 i64)
    (memory.fill $checked (local.get 0) (i32.const 1) (local.get 1))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 4 "store"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx) tail
;;     sig1 = (i64 vmctx, i32, i32, i64, i64, i64) tail
;;     fn0 = colocated u3:19 sig0
;;     fn1 = colocated u3:1 sig1
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;;                                     v7 -> v1
;;                                     v8 -> v2
;;                                     v3 = load.i64 notrap aligned readonly can_move region0 v0+16
;;                                     v4 = load.i64 notrap aligned region1 v3+40
;;                                     v5 = iconst.i64 0
;;                                     v6 = icmp sgt v4, v5  ; v5 = 0
;;                                     brif v6, block1, block2
;;
;;                                 block1 cold:
;;                                     call fn0(v0)
;;                                     jump block2
;;
;;                                 block2:
;; @0005                               v9 = iconst.i32 64
;; @0008                               v10 = iconst.i32 0
;; @0008                               v11 = iconst.i32 0
;; @0008                               v12 = uextend.i64 v1
;; @0008                               v13 = uextend.i64 v2
;; @0008                               v14 = uextend.i64 v9  ; v9 = 64
;; @0008                               v15 = load.i64 notrap aligned readonly can_move region0 v0+16
;; @0008                               v16 = load.i64 notrap aligned region1 v15+40
;; @0008                               v17 = iconst.i64 4
;; @0008                               v18 = iadd v16, v17  ; v17 = 4
;; @0008                               store notrap aligned region1 v18, v15+40
;; @0008                               call fn1(v0, v10, v11, v12, v13, v14)  ; v10 = 0, v11 = 0
;; @000c                               return
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 4 "store"
;;     region2 = 1 "heap"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx) tail
;;     sig1 = (i64 vmctx, i32, i32, i64, i64, i64) tail
;;     fn0 = colocated u3:19 sig0
;;     fn1 = colocated u3:1 sig1
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;;                                     v8 -> v1
;;                                     v9 -> v2
;;                                     v10 -> v3
;;                                     v4 = load.i64 notrap aligned readonly can_move region0 v0+16
;;                                     v5 = load.i64 notrap aligned region1 v4+40
;;                                     v6 = iconst.i64 0
;;                                     v7 = icmp sgt v5, v6  ; v6 = 0
;;                                     brif v7, block1, block2
;;
;;                                 block1 cold:
;;                                     call fn0(v0)
;;                                     jump block2
;;
;;                                 block2:
;; @0007                               v11 = load.i64 notrap aligned readonly can_move region0 v0+16
;; @0007                               v12 = load.i64 notrap aligned region1 v11+40
;; @0007                               v13 = iconst.i64 4
;; @0007                               v14 = iadd v12, v13  ; v13 = 4
;; @0007                               store notrap aligned region1 v14, v11+40
;; @0007                               v15 = iconst.i32 -1
;; @0007                               v16 = iadd.i32 v3, v15  ; v15 = -1
;; @0007                               v17 = iconst.i32 63
;; @0007                               v18 = icmp uge v16, v17  ; v17 = 63
;; @0007                               brif v18, block3, block4
;;
;;                                 block3 cold:
;; @0007                               v19 = iconst.i32 0
;; @0007                               v20 = iconst.i32 0
;; @0007                               v21 = uextend.i64 v1
;; @0007                               v22 = uextend.i64 v2
;; @0007                               v23 = uextend.i64 v3
;; @0007                               call fn1(v0, v19, v20, v21, v22, v23)  ; v19 = 0, v20 = 0
;; @0007                               jump block5
;;
;;                                 block4:
;; @0007                               v24 = uextend.i64 v2
;; @0007                               v25 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0007                               v26 = iadd v25, v24
;; @0007                               v27 = uextend.i64 v1
;; @0007                               v28 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0007                               v29 = iadd v28, v27
;; @0007                               v30 = iconst.i32 16
;; @0007                               v31 = icmp.i32 uge v3, v30  ; v30 = 16
;; @0007                               brif v31, block6, block7
;;
;;                                 block6:
;; @0007                               v32 = iconst.i32 -16
;; @0007                               v33 = iadd.i32 v3, v32  ; v32 = -16
;; @0007                               v34 = iconst.i32 63
;; @0007                               v35 = band v33, v34  ; v34 = 63
;; @0007                               v36 = uextend.i64 v35
;; @0007                               v37 = iconst.i64 16
;; @0007                               v38 = umin v36, v37  ; v37 = 16
;; @0007                               v39 = umax v36, v37  ; v37 = 16
;; @0007                               v40 = iadd.i64 v26, v36
;; @0007                               v41 = load.i8x16 little region2 v40
;; @0007                               v42 = iadd.i64 v26, v39
;; @0007                               v43 = load.i8x16 notrap little region2 v42-16
;; @0007                               v44 = iadd.i64 v26, v38
;; @0007                               v45 = load.i8x16 notrap little region2 v44
;; @0007                               v46 = load.i8x16 notrap little region2 v26
;; @0007                               v47 = iadd.i64 v29, v36
;; @0007                               store little region2 v41, v47
;; @0007                               v48 = iadd.i64 v29, v39
;; @0007                               store notrap little region2 v43, v48-16
;; @0007                               v49 = iadd.i64 v29, v38
;; @0007                               store notrap little region2 v45, v49
;; @0007                               store notrap little region2 v46, v29
;; @0007                               jump block5
;;
;;                                 block7:
;; @0007                               v50 = iconst.i32 8
;; @0007                               v51 = icmp.i32 uge v3, v50  ; v50 = 8
;; @0007                               brif v51, block8, block9
;;
;;                                 block8:
;; @0007                               v52 = iconst.i32 -8
;; @0007                               v53 = iadd.i32 v3, v52  ; v52 = -8
;; @0007                               v54 = iconst.i32 7
;; @0007                               v55 = band v53, v54  ; v54 = 7
;; @0007                               v56 = uextend.i64 v55
;; @0007                               v57 = iadd.i64 v26, v56
;; @0007                               v58 = load.i64 little region2 v57
;; @0007                               v59 = load.i64 notrap little region2 v26
;; @0007                               v60 = iadd.i64 v29, v56
;; @0007                               store little region2 v58, v60
;; @0007                               store notrap little region2 v59, v29
;; @0007                               jump block5
;;
;;                                 block9:
;; @0007                               v61 = iconst.i32 4
;; @0007                               v62 = icmp.i32 uge v3, v61  ; v61 = 4
;; @0007                               brif v62, block10, block11
;;
;;                                 block10:
;; @0007                               v63 = iconst.i32 -4
;; @0007                               v64 = iadd.i32 v3, v63  ; v63 = -4
;; @0007                               v65 = iconst.i32 3
;; @0007                               v66 = band v64, v65  ; v65 = 3
;; @0007                               v67 = uextend.i64 v66
;; @0007                               v68 = iadd.i64 v26, v67
;; @0007                               v69 = load.i32 little region2 v68
;; @0007                               v70 = load.i32 notrap little region2 v26
;; @0007                               v71 = iadd.i64 v29, v67
;; @0007                               store little region2 v69, v71
;; @0007                               store notrap little region2 v70, v29
;; @0007                               jump block5
;;
;;                                 block11:
;; @0007                               v72 = iconst.i32 -1
;; @0007                               v73 = iadd.i32 v3, v72  ; v72 = -1
;; @0007                               v74 = iconst.i32 3
;; @0007                               v75 = band v73, v74  ; v74 = 3
;; @0007                               v76 = uextend.i64 v75
;; @0007                               v77 = iconst.i32 1
;; @0007                               v78 = ushr.i32 v3, v77  ; v77 = 1
;; @0007                               v79 = iconst.i32 1
;; @0007                               v80 = band v78, v79  ; v79 = 1
;; @0007                               v81 = uextend.i64 v80
;; @0007                               v82 = iadd.i64 v26, v76
;; @0007                               v83 = load.i8 little region2 v82
;; @0007                               v84 = iadd.i64 v26, v81
;; @0007                               v85 = load.i8 notrap little region2 v84
;; @0007                               v86 = load.i8 notrap little region2 v26
;; @0007                               v87 = iadd.i64 v29, v76
;; @0007                               store little region2 v83, v87
;; @0007                               v88 = iadd.i64 v29, v81
;; @0007                               store notrap little region2 v85, v88
;; @0007                               store notrap little region2 v86, v29
;; @0007                               jump block5
;;
;;                                 block5:
;; @000b                               return
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i64, i64) tail {
;;     region0 = 0 "context"
;;     region1 = 4 "store"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx) tail
;;     sig1 = (i64 vmctx, i32, i64, i32, i64) tail
;;     fn0 = colocated u3:19 sig0
;;     fn1 = colocated u3:2 sig1
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i64, v2: i64):
;;                                     v7 -> v1
;;                                     v9 -> v2
;;                                     v3 = load.i64 notrap aligned readonly can_move region0 v0+16
;;                                     v4 = load.i64 notrap aligned region1 v3+40
;;                                     v5 = iconst.i64 0
;;                                     v6 = icmp sgt v4, v5  ; v5 = 0
;;                                     brif v6, block1, block2
;;
;;                                 block1 cold:
;;                                     call fn0(v0)
;;                                     jump block2
;;
;;                                 block2:
;; @0003                               v8 = iconst.i32 1
;; @0007                               v10 = iconst.i32 1
;; @0007                               v11 = load.i64 notrap aligned readonly can_move region0 v0+16
;; @0007                               v12 = load.i64 notrap aligned region1 v11+40
;; @0007                               v13 = iconst.i64 4
;; @0007                               v14 = iadd v12, v13  ; v13 = 4
;; @0007                               store notrap aligned region1 v14, v11+40
;; @0007                               call fn1(v0, v10, v1, v8, v2)  ; v10 = 1, v8 = 1
;; @000a                               return
;; }
