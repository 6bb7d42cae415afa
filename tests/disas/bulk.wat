;;! test = "clif"

;; Few bytes are loads and stores where a memory is reserved: by a constant length, and by one that the program computes.
(module
  (memory 1)
  (memory $two 1)
  (func $constant (param i32 i32)
    (memory.copy $two 0 (local.get 0) (local.get 1) (i32.const 23)))
  (func $nothing (param i32 i32)
    (memory.copy (local.get 0) (local.get 1) (i32.const 0)))
  (func $many (param i32 i32)
    (memory.copy (local.get 0) (local.get 1) (i32.const 129)))
  (func $copy (param i32 i32 i32)
    (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func $fill (param i32 i32 i32)
    (memory.fill (local.get 0) (local.get 1) (local.get 2))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = iconst.i32 23
;; @0007                               v4 = uextend.i64 v2
;; @0007                               v5 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0007                               v6 = iadd v5, v4
;; @0007                               v7 = uextend.i64 v1
;; @0007                               v8 = load.i64 notrap aligned readonly can_move region0 v0+72
;; @0007                               v9 = iadd v8, v7
;; @0007                               v10 = load.i8x16 little region1 v6+7
;; @0007                               v11 = load.i8x16 notrap little region1 v6
;; @0007                               store little region1 v10, v9+7
;; @0007                               store notrap little region1 v11, v9
;; @000b                               return
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32) tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i64, i64, i64, i64, i64) tail
;;     fn0 = colocated u3:29 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = iconst.i32 0
;; @0007                               v4 = iconst.i64 56
;; @0007                               v5 = iadd v0, v4  ; v4 = 56
;; @0007                               v6 = iconst.i64 56
;; @0007                               v7 = iadd v0, v6  ; v6 = 56
;; @0007                               v8 = uextend.i64 v1
;; @0007                               v9 = uextend.i64 v2
;; @0007                               v10 = uextend.i64 v3  ; v3 = 0
;; @0007                               call fn0(v0, v5, v7, v8, v9, v10)
;; @000b                               return
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32, i32) tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i64, i64, i64, i64, i64) tail
;;     fn0 = colocated u3:29 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = iconst.i32 129
;; @0008                               v4 = iconst.i64 56
;; @0008                               v5 = iadd v0, v4  ; v4 = 56
;; @0008                               v6 = iconst.i64 56
;; @0008                               v7 = iadd v0, v6  ; v6 = 56
;; @0008                               v8 = uextend.i64 v1
;; @0008                               v9 = uextend.i64 v2
;; @0008                               v10 = uextend.i64 v3  ; v3 = 129
;; @0008                               call fn0(v0, v5, v7, v8, v9, v10)
;; @000c                               return
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i32, i32, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i64, i64, i64, i64, i64) tail
;;     fn0 = colocated u3:29 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;; @0007                               v4 = iconst.i32 -1
;; @0007                               v5 = iadd v3, v4  ; v4 = -1
;; @0007                               v6 = iconst.i32 64
;; @0007                               v7 = icmp uge v5, v6  ; v6 = 64
;; @0007                               brif v7, block1, block2
;;
;;                                 block1 cold:
;; @0007                               v8 = iconst.i64 56
;; @0007                               v9 = iadd.i64 v0, v8  ; v8 = 56
;; @0007                               v10 = iconst.i64 56
;; @0007                               v11 = iadd.i64 v0, v10  ; v10 = 56
;; @0007                               v12 = uextend.i64 v1
;; @0007                               v13 = uextend.i64 v2
;; @0007                               v14 = uextend.i64 v3
;; @0007                               call fn0(v0, v9, v11, v12, v13, v14)
;; @0007                               jump block3
;;
;;                                 block2:
;; @0007                               v15 = uextend.i64 v2
;; @0007                               v16 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0007                               v17 = iadd v16, v15
;; @0007                               v18 = uextend.i64 v1
;; @0007                               v19 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0007                               v20 = iadd v19, v18
;; @0007                               v21 = iconst.i32 16
;; @0007                               v22 = icmp.i32 uge v3, v21  ; v21 = 16
;; @0007                               brif v22, block4, block5
;;
;;                                 block4:
;; @0007                               v23 = iconst.i32 -16
;; @0007                               v24 = iadd.i32 v3, v23  ; v23 = -16
;; @0007                               v25 = iconst.i32 63
;; @0007                               v26 = band v24, v25  ; v25 = 63
;; @0007                               v27 = uextend.i64 v26
;; @0007                               v28 = iconst.i64 16
;; @0007                               v29 = umin v27, v28  ; v28 = 16
;; @0007                               v30 = umax v27, v28  ; v28 = 16
;; @0007                               v31 = iadd.i64 v17, v27
;; @0007                               v32 = load.i8x16 little region1 v31
;; @0007                               v33 = iadd.i64 v17, v30
;; @0007                               v34 = load.i8x16 notrap little region1 v33-16
;; @0007                               v35 = iadd.i64 v17, v29
;; @0007                               v36 = load.i8x16 notrap little region1 v35
;; @0007                               v37 = load.i8x16 notrap little region1 v17
;; @0007                               v38 = iadd.i64 v20, v27
;; @0007                               store little region1 v32, v38
;; @0007                               v39 = iadd.i64 v20, v30
;; @0007                               store notrap little region1 v34, v39-16
;; @0007                               v40 = iadd.i64 v20, v29
;; @0007                               store notrap little region1 v36, v40
;; @0007                               store notrap little region1 v37, v20
;; @0007                               jump block3
;;
;;                                 block5:
;; @0007                               v41 = iconst.i32 8
;; @0007                               v42 = icmp.i32 uge v3, v41  ; v41 = 8
;; @0007                               brif v42, block6, block7
;;
;;                                 block6:
;; @0007                               v43 = iconst.i32 -8
;; @0007                               v44 = iadd.i32 v3, v43  ; v43 = -8
;; @0007                               v45 = iconst.i32 7
;; @0007                               v46 = band v44, v45  ; v45 = 7
;; @0007                               v47 = uextend.i64 v46
;; @0007                               v48 = iadd.i64 v17, v47
;; @0007                               v49 = load.i64 little region1 v48
;; @0007                               v50 = load.i64 notrap little region1 v17
;; @0007                               v51 = iadd.i64 v20, v47
;; @0007                               store little region1 v49, v51
;; @0007                               store notrap little region1 v50, v20
;; @0007                               jump block3
;;
;;                                 block7:
;; @0007                               v52 = iconst.i32 4
;; @0007                               v53 = icmp.i32 uge v3, v52  ; v52 = 4
;; @0007                               brif v53, block8, block9
;;
;;                                 block8:
;; @0007                               v54 = iconst.i32 -4
;; @0007                               v55 = iadd.i32 v3, v54  ; v54 = -4
;; @0007                               v56 = iconst.i32 3
;; @0007                               v57 = band v55, v56  ; v56 = 3
;; @0007                               v58 = uextend.i64 v57
;; @0007                               v59 = iadd.i64 v17, v58
;; @0007                               v60 = load.i32 little region1 v59
;; @0007                               v61 = load.i32 notrap little region1 v17
;; @0007                               v62 = iadd.i64 v20, v58
;; @0007                               store little region1 v60, v62
;; @0007                               store notrap little region1 v61, v20
;; @0007                               jump block3
;;
;;                                 block9:
;; @0007                               v63 = iconst.i32 -1
;; @0007                               v64 = iadd.i32 v3, v63  ; v63 = -1
;; @0007                               v65 = iconst.i32 3
;; @0007                               v66 = band v64, v65  ; v65 = 3
;; @0007                               v67 = uextend.i64 v66
;; @0007                               v68 = iconst.i32 1
;; @0007                               v69 = ushr.i32 v3, v68  ; v68 = 1
;; @0007                               v70 = iconst.i32 1
;; @0007                               v71 = band v69, v70  ; v70 = 1
;; @0007                               v72 = uextend.i64 v71
;; @0007                               v73 = iadd.i64 v17, v67
;; @0007                               v74 = load.i8 little region1 v73
;; @0007                               v75 = iadd.i64 v17, v72
;; @0007                               v76 = load.i8 notrap little region1 v75
;; @0007                               v77 = load.i8 notrap little region1 v17
;; @0007                               v78 = iadd.i64 v20, v67
;; @0007                               store little region1 v74, v78
;; @0007                               v79 = iadd.i64 v20, v72
;; @0007                               store notrap little region1 v76, v79
;; @0007                               store notrap little region1 v77, v20
;; @0007                               jump block3
;;
;;                                 block3:
;; @000b                               return
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx, i32, i32, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i64, i64, i32, i64) tail
;;     fn0 = colocated u3:30 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;; @0007                               v4 = iconst.i32 -1
;; @0007                               v5 = iadd v3, v4  ; v4 = -1
;; @0007                               v6 = iconst.i32 64
;; @0007                               v7 = icmp uge v5, v6  ; v6 = 64
;; @0007                               brif v7, block1, block2
;;
;;                                 block1 cold:
;; @0007                               v8 = iconst.i64 56
;; @0007                               v9 = iadd.i64 v0, v8  ; v8 = 56
;; @0007                               v10 = uextend.i64 v1
;; @0007                               v11 = uextend.i64 v3
;; @0007                               call fn0(v0, v9, v10, v2, v11)
;; @0007                               jump block3
;;
;;                                 block2:
;; @0007                               v12 = uextend.i64 v1
;; @0007                               v13 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0007                               v14 = iadd v13, v12
;; @0007                               v15 = iconst.i32 16
;; @0007                               v16 = icmp.i32 uge v3, v15  ; v15 = 16
;; @0007                               brif v16, block4, block5
;;
;;                                 block4:
;; @0007                               v17 = iconst.i32 -16
;; @0007                               v18 = iadd.i32 v3, v17  ; v17 = -16
;; @0007                               v19 = iconst.i32 63
;; @0007                               v20 = band v18, v19  ; v19 = 63
;; @0007                               v21 = uextend.i64 v20
;; @0007                               v22 = iconst.i64 16
;; @0007                               v23 = umin v21, v22  ; v22 = 16
;; @0007                               v24 = umax v21, v22  ; v22 = 16
;; @0007                               v25 = ireduce.i8 v2
;; @0007                               v26 = splat.i8x16 v25
;; @0007                               v27 = iadd.i64 v14, v21
;; @0007                               store little region1 v26, v27
;; @0007                               v28 = iadd.i64 v14, v24
;; @0007                               store notrap little region1 v26, v28-16
;; @0007                               v29 = iadd.i64 v14, v23
;; @0007                               store notrap little region1 v26, v29
;; @0007                               store notrap little region1 v26, v14
;; @0007                               jump block3
;;
;;                                 block5:
;; @0007                               v30 = iconst.i32 8
;; @0007                               v31 = icmp.i32 uge v3, v30  ; v30 = 8
;; @0007                               brif v31, block6, block7
;;
;;                                 block6:
;; @0007                               v32 = iconst.i32 -8
;; @0007                               v33 = iadd.i32 v3, v32  ; v32 = -8
;; @0007                               v34 = iconst.i32 7
;; @0007                               v35 = band v33, v34  ; v34 = 7
;; @0007                               v36 = uextend.i64 v35
;; @0007                               v37 = ireduce.i8 v2
;; @0007                               v38 = uextend.i64 v37
;; @0007                               v39 = iconst.i64 8
;; @0007                               v40 = ishl v38, v39  ; v39 = 8
;; @0007                               v41 = bor v38, v40
;; @0007                               v42 = iconst.i64 16
;; @0007                               v43 = ishl v41, v42  ; v42 = 16
;; @0007                               v44 = bor v41, v43
;; @0007                               v45 = iconst.i64 32
;; @0007                               v46 = ishl v44, v45  ; v45 = 32
;; @0007                               v47 = bor v44, v46
;; @0007                               v48 = iadd.i64 v14, v36
;; @0007                               store little region1 v47, v48
;; @0007                               store notrap little region1 v47, v14
;; @0007                               jump block3
;;
;;                                 block7:
;; @0007                               v49 = iconst.i32 4
;; @0007                               v50 = icmp.i32 uge v3, v49  ; v49 = 4
;; @0007                               brif v50, block8, block9
;;
;;                                 block8:
;; @0007                               v51 = iconst.i32 -4
;; @0007                               v52 = iadd.i32 v3, v51  ; v51 = -4
;; @0007                               v53 = iconst.i32 3
;; @0007                               v54 = band v52, v53  ; v53 = 3
;; @0007                               v55 = uextend.i64 v54
;; @0007                               v56 = ireduce.i8 v2
;; @0007                               v57 = uextend.i32 v56
;; @0007                               v58 = iconst.i32 8
;; @0007                               v59 = ishl v57, v58  ; v58 = 8
;; @0007                               v60 = bor v57, v59
;; @0007                               v61 = iconst.i32 16
;; @0007                               v62 = ishl v60, v61  ; v61 = 16
;; @0007                               v63 = bor v60, v62
;; @0007                               v64 = iadd.i64 v14, v55
;; @0007                               store little region1 v63, v64
;; @0007                               store notrap little region1 v63, v14
;; @0007                               jump block3
;;
;;                                 block9:
;; @0007                               v65 = iconst.i32 -1
;; @0007                               v66 = iadd.i32 v3, v65  ; v65 = -1
;; @0007                               v67 = iconst.i32 3
;; @0007                               v68 = band v66, v67  ; v67 = 3
;; @0007                               v69 = uextend.i64 v68
;; @0007                               v70 = iconst.i32 1
;; @0007                               v71 = ushr.i32 v3, v70  ; v70 = 1
;; @0007                               v72 = iconst.i32 1
;; @0007                               v73 = band v71, v72  ; v72 = 1
;; @0007                               v74 = uextend.i64 v73
;; @0007                               v75 = ireduce.i8 v2
;; @0007                               v76 = iadd.i64 v14, v69
;; @0007                               store little region1 v75, v76
;; @0007                               v77 = iadd.i64 v14, v74
;; @0007                               store notrap little region1 v75, v77
;; @0007                               store notrap little region1 v75, v14
;; @0007                               jump block3
;;
;;                                 block3:
;; @000a                               return
;; }
