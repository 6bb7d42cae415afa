;;! test = "clif"

(module
  (func $f)
  (elem declare func $f)
  (func (result funcref)
    (ref.func $f))
  (func (result externref)
    (ref.null extern))
  (func (param funcref) (result i32)
    (ref.is_null (local.get 0)))
  (func (param externref) (result i32)
    (ref.is_null (local.get 0))))
;; function wasm[0]:
;; function u0:0(i64 vmctx) tail {
;;                                 block0(v0: i64):
;; @0001                               return
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx) -> i64 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) -> i64 tail
;;     fn0 = colocated u3:15 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64):
;; @0001                               v1 = iconst.i32 0
;; @0001                               v2 = call fn0(v0, v1)  ; v1 = 0
;; @0003                               return v2
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx) -> i32 tail {
;;                                 block0(v0: i64):
;; @0001                               v1 = iconst.i32 0
;; @0003                               return v1  ; v1 = 0
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i64) -> i32 tail {
;;                                 block0(v0: i64, v1: i64):
;; @0003                               v2 = iconst.i64 0
;; @0003                               v3 = icmp eq v1, v2  ; v2 = 0
;; @0003                               v4 = uextend.i32 v3
;; @0004                               return v4
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = iconst.i32 0
;; @0003                               v3 = icmp eq v1, v2  ; v2 = 0
;; @0003                               v4 = uextend.i32 v3
;; @0004                               return v4
;; }
