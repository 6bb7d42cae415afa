;;! test = "midend"
(module
  (memory 1)
  (func (export "copy") (param $to i32) (param $from i32) (param $n i32)
    loop
      (i32.store8 (local.get $to) (i32.load8_u (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
    end)
  (func (export "length") (param $p i32) (result i32) (local $start i32)
    (local.set $start (local.get $p))
    loop
      (br_if 0 (i32.load8_u (local.tee $p (i32.add (local.get $p) (i32.const 1)))))
    end
    (i32.sub (local.get $p) (local.get $start))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i32, i32) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;; @0001                               jump block3(v1, v2, v3)
;;
;;                                 block3(v20: i32, v21: i32, v22: i32):
;;                                     v23 = iconst.i32 -1
;;                                     v24 = iadd v23, v22  ; v23 = -1
;;                                     v25 = uextend.i64 v24
;;                                     v26 = iconst.i64 0
;;                                     v27 = ishl v25, v26  ; v26 = 0
;;                                     v28 = iconst.i64 8
;;                                     v29 = icmp uge v27, v28  ; v28 = 8
;;                                     brif v29, block4, block1(v20, v21, v22)
;;
;;                                 block4:
;;                                     v30 = load.i64 notrap aligned readonly can_move region1 v0+56
;;                                     v31 = load.i64 notrap aligned v0+64
;;                                     v32 = iconst.i32 0
;;                                     v33 = iadd v32, v21  ; v32 = 0
;;                                     v34 = uextend.i64 v33
;;                                     v35 = iconst.i64 0
;;                                     v36 = iadd v34, v35  ; v35 = 0
;;                                     v37 = isub v31, v36
;;                                     v38 = iconst.i32 0
;;                                     v39 = iadd v38, v20  ; v38 = 0
;;                                     v40 = uextend.i64 v39
;;                                     v41 = iconst.i64 0
;;                                     v42 = iadd v40, v41  ; v41 = 0
;;                                     v43 = isub v31, v42
;;                                     v44 = smin v37, v43
;;                                     v45 = icmp.i64 sle v27, v44
;;                                     v46 = isub v42, v36
;;                                     v47 = iconst.i64 16
;;                                     v48 = icmp uge v46, v47  ; v47 = 16
;;                                     v49 = band v45, v48
;;                                     brif v49, block5, block1(v20, v21, v22)
;;
;;                                 block5:
;;                                     v50 = iadd.i64 v30, v36
;;                                     v51 = iadd.i64 v30, v42
;;                                     v56 = iconst.i64 0
;;                                     v57 = iconst.i64 16
;;                                     v58 = iadd v56, v57  ; v56 = 0, v57 = 16
;;                                     v59 = icmp sle v58, v27
;;                                     brif v59, block6(v56), block7(v56)  ; v56 = 0, v56 = 0
;;
;;                                 block6(v52: i64):
;;                                     v60 = iadd.i64 v50, v52
;;                                     v61 = load.i64x2 notrap little region0 v60
;;                                     v62 = iadd.i64 v51, v52
;;                                     store notrap little region0 v61, v62
;;                                     v63 = iconst.i64 16
;;                                     v64 = iadd v52, v63  ; v63 = 16
;;                                     v65 = iconst.i64 16
;;                                     v66 = iadd v64, v65  ; v65 = 16
;;                                     v67 = icmp sle v66, v27
;;                                     brif v67, block6(v64), block7(v64)
;;
;;                                 block7(v53: i64):
;;                                     v68 = iconst.i64 8
;;                                     v69 = iadd v53, v68  ; v68 = 8
;;                                     v70 = icmp sle v69, v27
;;                                     brif v70, block10, block8(v53)
;;
;;                                 block8(v54: i64):
;;                                     v76 = iconst.i64 4
;;                                     v77 = iadd v54, v76  ; v76 = 4
;;                                     v78 = icmp sle v77, v27
;;                                     brif v78, block11, block9(v54)
;;
;;                                 block9(v55: i64):
;;                                     v84 = iconst.i64 0
;;                                     v85 = ushr v55, v84  ; v84 = 0
;;                                     v86 = ireduce.i32 v85
;;                                     v87 = iconst.i32 1
;;                                     v88 = imul v86, v87  ; v87 = 1
;;                                     v89 = iadd.i32 v20, v88
;;                                     v90 = iconst.i32 1
;;                                     v91 = imul v86, v90  ; v90 = 1
;;                                     v92 = iadd.i32 v21, v91
;;                                     v93 = iconst.i32 -1
;;                                     v94 = imul v86, v93  ; v93 = -1
;;                                     v95 = iadd.i32 v22, v94
;;                                     jump block1(v89, v92, v95)
;;
;;                                 block10:
;;                                     v71 = iadd.i64 v50, v53
;;                                     v72 = load.i64 notrap little region0 v71
;;                                     v73 = iadd.i64 v51, v53
;;                                     store notrap little region0 v72, v73
;;                                     v74 = iconst.i64 8
;;                                     v75 = iadd.i64 v53, v74  ; v74 = 8
;;                                     jump block8(v75)
;;
;;                                 block11:
;;                                     v79 = iadd.i64 v50, v54
;;                                     v80 = load.i32 notrap little region0 v79
;;                                     v81 = iadd.i64 v51, v54
;;                                     store notrap little region0 v80, v81
;;                                     v82 = iconst.i64 4
;;                                     v83 = iadd.i64 v54, v82  ; v82 = 4
;;                                     jump block9(v83)
;;
;;                                 block1(v4: i32, v5: i32, v17: i32):
;; @0007                               v6 = uextend.i64 v5
;; @0007                               v7 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0007                               v8 = iadd v7, v6
;; @0007                               v9 = uload8.i32 little region0 v8
;; @000a                               v10 = uextend.i64 v4
;; @000a                               v11 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @000a                               v12 = iadd v11, v10
;; @000a                               istore8 little region0 v9, v12
;; @000f                               v13 = iconst.i32 1
;; @0011                               v14 = iadd v4, v13  ; v13 = 1
;; @0016                               v15 = iconst.i32 1
;; @0018                               v16 = iadd v5, v15  ; v15 = 1
;; @001d                               v18 = iconst.i32 1
;; @001f                               v19 = isub v17, v18  ; v18 = 1
;; @0022                               brif v19, block1(v14, v16, v19), block2
;;
;;                                 block2:
;; @0025                               return
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32):
;;                                     v10 -> v1
;;                                     v2 = iconst.i32 0
;; @0007                               jump block3(v1)
;;
;;                                 block3(v12: i32):
;;                                     v13 = load.i64 notrap aligned readonly can_move region1 v0+56
;;                                     v14 = load.i64 notrap aligned v0+64
;;                                     v15 = iconst.i32 1
;;                                     v16 = iadd v15, v12  ; v15 = 1
;;                                     v17 = uextend.i64 v16
;;                                     v18 = iconst.i64 0
;;                                     v19 = iadd v17, v18  ; v18 = 0
;;                                     v20 = isub v14, v19
;;                                     v21 = iadd v13, v19
;;                                     v22 = iconst.i64 0
;;                                     v23 = iconst.i64 16
;;                                     v24 = iadd v22, v23  ; v22 = 0, v23 = 16
;;                                     v25 = icmp sle v24, v20
;;                                     brif v25, block4, block1(v12)
;;
;;                                 block4:
;;                                     jump block5(v22)  ; v22 = 0
;;
;;                                 block5(v26: i64):
;;                                     v28 = iadd.i64 v21, v26
;;                                     v29 = load.i8x16 notrap little region0 v28
;;                                     v30 = iconst.i8 0
;;                                     v31 = splat.i8x16 v30  ; v30 = 0
;;                                     v32 = icmp ne v29, v31
;;                                     v33 = vhigh_bits.i32 v32
;;                                     v34 = iconst.i32 0xffff
;;                                     v35 = bxor v33, v34  ; v34 = 0xffff
;;                                     brif v35, block7, block6
;;
;;                                 block6:
;;                                     v36 = iconst.i64 16
;;                                     v37 = iadd.i64 v26, v36  ; v36 = 16
;;                                     v38 = iconst.i64 16
;;                                     v39 = iadd v37, v38  ; v38 = 16
;;                                     v40 = icmp sle v39, v20
;;                                     brif v40, block5(v37), block8(v37)
;;
;;                                 block7:
;;                                     v41 = ctz.i32 v35
;;                                     v42 = uextend.i64 v41
;;                                     v43 = iadd.i64 v26, v42
;;                                     jump block8(v43)
;;
;;                                 block8(v27: i64):
;;                                     v44 = ireduce.i32 v27
;;                                     v45 = iconst.i32 1
;;                                     v46 = imul v44, v45  ; v45 = 1
;;                                     v47 = iadd.i32 v12, v46
;;                                     jump block1(v47)
;;
;;                                 block1(v3: i32):
;; @000b                               v4 = iconst.i32 1
;; @000d                               v5 = iadd v3, v4  ; v4 = 1
;; @0010                               v6 = uextend.i64 v5
;; @0010                               v7 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0010                               v8 = iadd v7, v6
;; @0010                               v9 = uload8.i32 little region0 v8
;; @0013                               brif v9, block1(v5), block2
;;
;;                                 block2:
;; @001a                               v11 = isub.i32 v5, v1
;; @001b                               return v11
;; }
