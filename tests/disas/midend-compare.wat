;;! test = "midend"
(module
  ;; A negated comparison before a branch: the targets change places.
  (func (param f64 f64) (result i32)
    block
      (br_if 0 (i32.eqz (f64.lt (local.get 0) (local.get 1))))
      (return (i32.const 1))
    end
    i32.const 2)
  ;; Before a selection: the values do. Twice negated: nothing does.
  (func (param i32 i32 f32 f32) (result i32)
    (select (local.get 0) (local.get 1) (i32.eqz (f32.ge (local.get 2) (local.get 3)))))
  (func (param i32 i32 f32 f32) (result i32)
    (select (local.get 0) (local.get 1) (i32.eqz (i32.eqz (f32.ge (local.get 2) (local.get 3))))))
  ;; The larger of two, in the form that is one instruction.
  (func (param f64 f64) (result f64)
    (select (local.get 0) (local.get 1) (f64.gt (local.get 0) (local.get 1))))
  ;; Not to be touched: the answer is more than whether it is zero.
  (func (param f64 f64) (result i32)
    (i32.eqz (f64.lt (local.get 0) (local.get 1)))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, f64, f64) -> i32 tail {
;;                                 block0(v0: i64, v1: f64, v2: f64):
;; @0007                               v3 = fcmp lt v1, v2
;; @0007                               v4 = uextend.i32 v3
;; @0008                               v5 = iconst.i32 0
;; @0008                               v6 = icmp eq v4, v5  ; v5 = 0
;; @0008                               v7 = uextend.i32 v6
;; @0009                               brif v3, block2, block1
;;
;;                                 block2:
;; @000b                               v8 = iconst.i32 1
;; @000d                               return v8  ; v8 = 1
;;
;;                                 block1:
;; @000f                               v9 = iconst.i32 2
;; @0011                               return v9  ; v9 = 2
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32, f32, f32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: f32, v4: f32):
;; @0009                               v5 = fcmp ge v3, v4
;; @0009                               v6 = uextend.i32 v5
;; @000a                               v7 = iconst.i32 0
;; @000a                               v8 = icmp eq v6, v7  ; v7 = 0
;; @000a                               v9 = uextend.i32 v8
;; @000b                               v10 = select v5, v2, v1
;; @000c                               return v10
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32, i32, f32, f32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: f32, v4: f32):
;; @0009                               v5 = fcmp ge v3, v4
;; @0009                               v6 = uextend.i32 v5
;; @000a                               v7 = iconst.i32 0
;; @000a                               v8 = icmp eq v6, v7  ; v7 = 0
;; @000a                               v9 = uextend.i32 v8
;; @000b                               v10 = iconst.i32 0
;; @000b                               v11 = icmp eq v9, v10  ; v10 = 0
;; @000b                               v12 = uextend.i32 v11
;; @000c                               v13 = select v12, v1, v2
;; @000d                               return v13
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, f64, f64) -> f64 tail {
;;                                 block0(v0: i64, v1: f64, v2: f64):
;; @0009                               v3 = fcmp gt v1, v2
;; @0009                               v4 = uextend.i32 v3
;; @000a                               v6 = fcmp lt v2, v1
;; @000a                               v5 = select v6, v1, v2
;; @000b                               return v5
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx, f64, f64) -> i32 tail {
;;                                 block0(v0: i64, v1: f64, v2: f64):
;; @0005                               v3 = fcmp lt v1, v2
;; @0005                               v4 = uextend.i32 v3
;; @0006                               v5 = iconst.i32 0
;; @0006                               v6 = icmp eq v4, v5  ; v5 = 0
;; @0006                               v7 = uextend.i32 v6
;; @0007                               return v7
;; }
