;;! test = "clif"

;; Function tables hold fat entries that are built lazily; tables of collected references hold 32-bit numbers.
(module
  (table $funcs 10 funcref)
  (table $refs 10 externref)
  (func (param i32) (result funcref)
    (table.get $funcs (local.get 0)))
  (func (param i32 funcref)
    (table.set $funcs (local.get 0) (local.get 1)))
  (func (param i32) (result externref)
    (table.get $refs (local.get 0)))
  (func (param i32 externref)
    (table.set $refs (local.get 0) (local.get 1)))
  (func (result i32)
    (table.size $refs))
  (func (param i32 externref) (result i32)
    (table.grow $refs (local.get 1) (local.get 0))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i64 tail {
;;     region0 = 0 "context"
;;     region1 = 2 "table"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32, i64) -> i64 tail
;;     fn0 = colocated u3:12 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = uextend.i64 v1
;; @0003                               v3 = load.i64 notrap aligned region0 v0+64
;; @0003                               v4 = icmp uge v2, v3
;; @0003                               v5 = load.i64 notrap aligned region0 v0+56
;; @0003                               v6 = iconst.i64 5
;; @0003                               v7 = ishl v2, v6  ; v6 = 5
;; @0003                               v8 = iadd v5, v7
;; @0003                               v9 = iconst.i64 0
;; @0003                               v10 = select_spectre_guard v4, v9, v8  ; v9 = 0
;; @0003                               v11 = load.i32 user4 aligned region1 v10+8
;; @0003                               v12 = load.i64 notrap aligned region1 v10+24
;; @0003                               v13 = iconst.i32 0
;; @0003                               v14 = icmp eq v11, v13  ; v13 = 0
;; @0003                               brif v14, block1, block2(v12)
;;
;;                                 block1 cold:
;; @0003                               v16 = iconst.i32 0
;; @0003                               v17 = call fn0(v0, v16, v2)  ; v16 = 0
;; @0003                               jump block2(v17)
;;
;;                                 block2(v15: i64):
;; @0005                               return v15
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i64) tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32, i64, i64) tail
;;     fn0 = colocated u3:13 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i64):
;; @0005                               v3 = uextend.i64 v1
;; @0005                               v4 = iconst.i32 0
;; @0005                               call fn0(v0, v4, v3, v2)  ; v4 = 0
;; @0007                               return
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32) -> i32 tail {
;;     region0 = 0 "context"
;;     region1 = 2 "table"
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = uextend.i64 v1
;; @0003                               v3 = load.i64 notrap aligned region0 v0+80
;; @0003                               v4 = icmp uge v2, v3
;; @0003                               v5 = load.i64 notrap aligned region0 v0+72
;; @0003                               v6 = iconst.i64 2
;; @0003                               v7 = ishl v2, v6  ; v6 = 2
;; @0003                               v8 = iadd v5, v7
;; @0003                               v9 = iconst.i64 0
;; @0003                               v10 = select_spectre_guard v4, v9, v8  ; v9 = 0
;; @0003                               v11 = load.i32 user4 aligned region1 v10
;; @0005                               return v11
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i32, i32) tail {
;;     region0 = 0 "context"
;;     region1 = 2 "table"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = uextend.i64 v1
;; @0005                               v4 = load.i64 notrap aligned region0 v0+80
;; @0005                               v5 = icmp uge v3, v4
;; @0005                               v6 = load.i64 notrap aligned region0 v0+72
;; @0005                               v7 = iconst.i64 2
;; @0005                               v8 = ishl v3, v7  ; v7 = 2
;; @0005                               v9 = iadd v6, v8
;; @0005                               v10 = iconst.i64 0
;; @0005                               v11 = select_spectre_guard v5, v10, v9  ; v10 = 0
;; @0005                               store user4 aligned region1 v2, v11
;; @0007                               return
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx) -> i32 tail {
;;     region0 = 0 "context"
;;
;;                                 block0(v0: i64):
;; @0001                               v1 = load.i64 notrap aligned region0 v0+80
;; @0001                               v2 = ireduce.i32 v1
;; @0004                               return v2
;; }
;; function wasm[5]:
;; function u0:5(i64 vmctx, i32, i32) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32, i64, i32) -> i64 tail
;;     fn0 = colocated u3:6 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = iconst.i32 1
;; @0005                               v4 = uextend.i64 v1
;; @0005                               v5 = call fn0(v0, v3, v4, v2)  ; v3 = 1
;; @0005                               v6 = ireduce.i32 v5
;; @0008                               return v6
;; }
