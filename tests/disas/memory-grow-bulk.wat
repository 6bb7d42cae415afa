;;! test = "clif"

;; Operators that are calls of the runtime.
(module
  (memory 1)
  (data $d "abc")
  (func (param i32) (result i32)
    (memory.grow (local.get 0)))
  (func (param i32 i32 i32)
    (memory.copy (local.get 0) (local.get 1) (local.get 2))
    (memory.fill (local.get 0) (local.get 1) (local.get 2))
    (memory.init $d (local.get 0) (local.get 1) (local.get 2))
    (data.drop $d)))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32, i64) -> i64 tail
;;     fn0 = colocated u3:0 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = iconst.i32 0
;; @0003                               v3 = uextend.i64 v1
;; @0003                               v4 = call fn0(v0, v2, v3)  ; v2 = 0
;; @0003                               v5 = ireduce.i32 v4
;; @0005                               return v5
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 1 "heap"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i64, i64, i64, i64, i64) tail
;;     sig1 = (i64 vmctx, i64, i64, i32, i64) tail
;;     sig2 = (i64 vmctx, i32, i32, i64, i64, i64) tail
;;     sig3 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:29 sig0
;;     fn1 = colocated u3:30 sig1
;;     fn2 = colocated u3:3 sig2
;;     fn3 = colocated u3:4 sig3
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;;                                     v80 -> v1
;;                                     v157 -> v1
;;                                     v81 -> v2
;;                                     v158 -> v2
;;                                     v82 -> v3
;;                                     v159 -> v3
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
;; @0011                               v83 = iconst.i32 -1
;; @0011                               v84 = iadd.i32 v3, v83  ; v83 = -1
;; @0011                               v85 = iconst.i32 64
;; @0011                               v86 = icmp uge v84, v85  ; v85 = 64
;; @0011                               brif v86, block10, block11
;;
;;                                 block10 cold:
;; @0011                               v87 = iconst.i64 56
;; @0011                               v88 = iadd.i64 v0, v87  ; v87 = 56
;; @0011                               v89 = uextend.i64 v1
;; @0011                               v90 = uextend.i64 v3
;; @0011                               call fn1(v0, v88, v89, v2, v90)
;; @0011                               jump block12
;;
;;                                 block11:
;; @0011                               v91 = uextend.i64 v1
;; @0011                               v92 = load.i64 notrap aligned readonly can_move region0 v0+56
;; @0011                               v93 = iadd v92, v91
;; @0011                               v94 = iconst.i32 16
;; @0011                               v95 = icmp.i32 uge v3, v94  ; v94 = 16
;; @0011                               brif v95, block13, block14
;;
;;                                 block13:
;; @0011                               v96 = iconst.i32 -16
;; @0011                               v97 = iadd.i32 v3, v96  ; v96 = -16
;; @0011                               v98 = iconst.i32 63
;; @0011                               v99 = band v97, v98  ; v98 = 63
;; @0011                               v100 = uextend.i64 v99
;; @0011                               v101 = iconst.i64 16
;; @0011                               v102 = umin v100, v101  ; v101 = 16
;; @0011                               v103 = umax v100, v101  ; v101 = 16
;; @0011                               v104 = ireduce.i8 v2
;; @0011                               v105 = splat.i8x16 v104
;; @0011                               v106 = iadd.i64 v93, v100
;; @0011                               store little region1 v105, v106
;; @0011                               v107 = iadd.i64 v93, v103
;; @0011                               store notrap little region1 v105, v107-16
;; @0011                               v108 = iadd.i64 v93, v102
;; @0011                               store notrap little region1 v105, v108
;; @0011                               store notrap little region1 v105, v93
;; @0011                               jump block12
;;
;;                                 block14:
;; @0011                               v109 = iconst.i32 8
;; @0011                               v110 = icmp.i32 uge v3, v109  ; v109 = 8
;; @0011                               brif v110, block15, block16
;;
;;                                 block15:
;; @0011                               v111 = iconst.i32 -8
;; @0011                               v112 = iadd.i32 v3, v111  ; v111 = -8
;; @0011                               v113 = iconst.i32 7
;; @0011                               v114 = band v112, v113  ; v113 = 7
;; @0011                               v115 = uextend.i64 v114
;; @0011                               v116 = ireduce.i8 v2
;; @0011                               v117 = uextend.i64 v116
;; @0011                               v118 = iconst.i64 8
;; @0011                               v119 = ishl v117, v118  ; v118 = 8
;; @0011                               v120 = bor v117, v119
;; @0011                               v121 = iconst.i64 16
;; @0011                               v122 = ishl v120, v121  ; v121 = 16
;; @0011                               v123 = bor v120, v122
;; @0011                               v124 = iconst.i64 32
;; @0011                               v125 = ishl v123, v124  ; v124 = 32
;; @0011                               v126 = bor v123, v125
;; @0011                               v127 = iadd.i64 v93, v115
;; @0011                               store little region1 v126, v127
;; @0011                               store notrap little region1 v126, v93
;; @0011                               jump block12
;;
;;                                 block16:
;; @0011                               v128 = iconst.i32 4
;; @0011                               v129 = icmp.i32 uge v3, v128  ; v128 = 4
;; @0011                               brif v129, block17, block18
;;
;;                                 block17:
;; @0011                               v130 = iconst.i32 -4
;; @0011                               v131 = iadd.i32 v3, v130  ; v130 = -4
;; @0011                               v132 = iconst.i32 3
;; @0011                               v133 = band v131, v132  ; v132 = 3
;; @0011                               v134 = uextend.i64 v133
;; @0011                               v135 = ireduce.i8 v2
;; @0011                               v136 = uextend.i32 v135
;; @0011                               v137 = iconst.i32 8
;; @0011                               v138 = ishl v136, v137  ; v137 = 8
;; @0011                               v139 = bor v136, v138
;; @0011                               v140 = iconst.i32 16
;; @0011                               v141 = ishl v139, v140  ; v140 = 16
;; @0011                               v142 = bor v139, v141
;; @0011                               v143 = iadd.i64 v93, v134
;; @0011                               store little region1 v142, v143
;; @0011                               store notrap little region1 v142, v93
;; @0011                               jump block12
;;
;;                                 block18:
;; @0011                               v144 = iconst.i32 -1
;; @0011                               v145 = iadd.i32 v3, v144  ; v144 = -1
;; @0011                               v146 = iconst.i32 3
;; @0011                               v147 = band v145, v146  ; v146 = 3
;; @0011                               v148 = uextend.i64 v147
;; @0011                               v149 = iconst.i32 1
;; @0011                               v150 = ushr.i32 v3, v149  ; v149 = 1
;; @0011                               v151 = iconst.i32 1
;; @0011                               v152 = band v150, v151  ; v151 = 1
;; @0011                               v153 = uextend.i64 v152
;; @0011                               v154 = ireduce.i8 v2
;; @0011                               v155 = iadd.i64 v93, v148
;; @0011                               store little region1 v154, v155
;; @0011                               v156 = iadd.i64 v93, v153
;; @0011                               store notrap little region1 v154, v156
;; @0011                               store notrap little region1 v154, v93
;; @0011                               jump block12
;;
;;                                 block12:
;; @001a                               v160 = iconst.i32 0
;; @001a                               v161 = iconst.i32 0
;; @001a                               v162 = uextend.i64 v1
;; @001a                               v163 = uextend.i64 v2
;; @001a                               v164 = uextend.i64 v3
;; @001a                               call fn2(v0, v160, v161, v162, v163, v164)  ; v160 = 0, v161 = 0
;; @001e                               v165 = iconst.i32 0
;; @001e                               call fn3(v0, v165)  ; v165 = 0
;; @0021                               return
;; }
