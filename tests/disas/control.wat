;;! test = "clif"

(module
  (func (param i32) (result i32)
    (local i32)
    (loop $again
      (local.set 1 (i32.add (local.get 1) (local.get 0)))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1))
  (func (param i32 i64 i64) (result i64)
    (if (result i64) (i32.lt_s (local.get 0) (i32.const 7))
      (then (local.get 1))
      (else (local.get 2))))
  (func (param i32 f32 f32) (result f32)
    (select (local.get 1) (local.get 2) (local.get 0)))
  (func (result i32)
    (unreachable)
    (i32.add))
  (func (param i32 i32) (result i32)
    (block (result i32)
      (br_if 0 (local.get 0) (local.get 1)))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32):
;;                                     v2 = iconst.i32 0
;; @0003                               jump block1(v2, v1)  ; v2 = 0
;;
;;                                 block1(v3: i32, v4: i32):
;; @0009                               v5 = iadd v3, v4
;; @000e                               v6 = iconst.i32 1
;; @0010                               v7 = isub v4, v6  ; v6 = 1
;; @0013                               brif v7, block1(v5, v7), block2
;;
;;                                 block2:
;; @0018                               return v5
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i64, i64) -> i64 tail {
;;                                 block0(v0: i64, v1: i32, v2: i64, v3: i64):
;; @0003                               v4 = iconst.i32 7
;; @0005                               v5 = icmp slt v1, v4  ; v4 = 7
;; @0005                               v6 = uextend.i32 v5
;; @0006                               brif v6, block1, block2
;;
;;                                 block1:
;; @000a                               jump block3(v2)
;;
;;                                 block2:
;; @000d                               jump block3(v3)
;;
;;                                 block3(v7: i64):
;; @000e                               return v7
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32, f32, f32) -> f32 tail {
;;                                 block0(v0: i64, v1: i32, v2: f32, v3: f32):
;; @0007                               v4 = select v1, v2, v3
;; @0008                               return v4
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx) -> i32 tail {
;;                                 block0(v0: i64):
;; @0001                               nop
;; @0001                               trap user11
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx, i32, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0007                               brif v2, block1(v1), block2
;;
;;                                 block2:
;; @0009                               jump block1(v1)
;;
;;                                 block1(v3: i32):
;; @000a                               return v3
;; }
