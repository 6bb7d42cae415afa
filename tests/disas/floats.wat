;;! test = "clif"

(module
  (func (param f32 f32) (result f32)
    (f32.min (f32.max (local.get 0) (local.get 1)) (f32.copysign (f32.sqrt (local.get 0)) (f32.neg (local.get 1)))))
  (func (param f64) (result i32)
    (f64.le (f64.nearest (local.get 0)) (f64.floor (local.get 0))))
  (func (param f64) (result i64)
    (i64.add (i64.trunc_f64_s (local.get 0)) (i64.trunc_sat_f64_u (local.get 0))))
  (func (param i64) (result f32)
    (f32.add (f32.convert_i64_u (local.get 0)) (f32.demote_f64 (f64.reinterpret_i64 (local.get 0))))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, f32, f32) -> f32 tail {
;;                                 block0(v0: i64, v1: f32, v2: f32):
;; @0005                               v3 = fmax v1, v2
;; @0008                               v4 = sqrt v1
;; @000b                               v5 = fneg v2
;; @000c                               v6 = fcopysign v4, v5
;; @000d                               v7 = fmin v3, v6
;; @000e                               return v7
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, f64) -> i32 tail {
;;                                 block0(v0: i64, v1: f64):
;; @0003                               v2 = nearest v1
;; @0006                               v3 = floor v1
;; @0007                               v4 = fcmp le v2, v3
;; @0007                               v5 = uextend.i32 v4
;; @0008                               return v5
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, f64) -> i64 tail {
;;                                 block0(v0: i64, v1: f64):
;; @0003                               v2 = fcvt_to_sint.i64 v1
;; @0006                               v3 = fcvt_to_uint_sat.i64 v1
;; @0008                               v4 = iadd v2, v3
;; @0009                               return v4
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i64) -> f32 tail {
;;                                 block0(v0: i64, v1: i64):
;; @0003                               v2 = fcvt_from_uint.f32 v1
;; @0006                               v3 = bitcast.f64 v1
;; @0007                               v4 = fdemote.f32 v3
;; @0008                               v5 = fadd v2, v4
;; @0009                               return v5
;; }
