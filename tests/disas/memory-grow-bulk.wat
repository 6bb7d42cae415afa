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
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32, i32, i64, i64, i64) tail
;;     sig1 = (i64 vmctx, i32, i64, i32, i64) tail
;;     sig2 = (i64 vmctx, i32, i32, i64, i64, i64) tail
;;     sig3 = (i64 vmctx, i32) tail
;;     fn0 = colocated u3:1 sig0
;;     fn1 = colocated u3:2 sig1
;;     fn2 = colocated u3:3 sig2
;;     fn3 = colocated u3:4 sig3
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;; @0007                               v4 = iconst.i32 0
;; @0007                               v5 = iconst.i32 0
;; @0007                               v6 = uextend.i64 v1
;; @0007                               v7 = uextend.i64 v2
;; @0007                               v8 = uextend.i64 v3
;; @0007                               call fn0(v0, v4, v5, v6, v7, v8)  ; v4 = 0, v5 = 0
;; @0011                               v9 = iconst.i32 0
;; @0011                               v10 = uextend.i64 v1
;; @0011                               v11 = uextend.i64 v3
;; @0011                               call fn1(v0, v9, v10, v2, v11)  ; v9 = 0
;; @001a                               v12 = iconst.i32 0
;; @001a                               v13 = iconst.i32 0
;; @001a                               v14 = uextend.i64 v1
;; @001a                               v15 = uextend.i64 v2
;; @001a                               v16 = uextend.i64 v3
;; @001a                               call fn2(v0, v12, v13, v14, v15, v16)  ; v12 = 0, v13 = 0
;; @001e                               v17 = iconst.i32 0
;; @001e                               call fn3(v0, v17)  ; v17 = 0
;; @0021                               return
;; }
