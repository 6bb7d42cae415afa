;;! test = "clif"

(module
  (func (param i32 i32) (result i32)
    (i32.rem_s (i32.div_u (local.get 0) (local.get 1)) (i32.rotl (local.get 0) (local.get 1))))
  (func (param i64 i64) (result i32)
    (i64.lt_u (i64.shr_s (local.get 0) (local.get 1)) (i64.popcnt (i64.ctz (i64.clz (local.get 0))))))
  (func (param i64) (result i32)
    (i32.extend8_s (i32.wrap_i64 (i64.extend16_s (local.get 0)))))
  (func (param i32) (result i64)
    (i64.add (i64.extend_i32_s (local.get 0)) (i64.extend_i32_u (i32.eqz (local.get 0))))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0005                               v3 = udiv v1, v2
;; @000a                               v4 = rotl v1, v2
;; @000b                               v5 = srem v3, v4
;; @000c                               return v5
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i64, i64) -> i32 tail {
;;                                 block0(v0: i64, v1: i64, v2: i64):
;; @0005                               v3 = sshr v1, v2
;; @0008                               v4 = clz v1
;; @0009                               v5 = ctz v4
;; @000a                               v6 = popcnt v5
;; @000b                               v7 = icmp ult v3, v6
;; @000b                               v8 = uextend.i32 v7
;; @000c                               return v8
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i64) -> i32 tail {
;;                                 block0(v0: i64, v1: i64):
;; @0003                               v2 = ireduce.i16 v1
;; @0003                               v3 = sextend.i64 v2
;; @0004                               v4 = ireduce.i32 v3
;; @0005                               v5 = ireduce.i8 v4
;; @0005                               v6 = sextend.i32 v5
;; @0006                               return v6
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i32) -> i64 tail {
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = sextend.i64 v1
;; @0006                               v3 = iconst.i32 0
;; @0006                               v4 = icmp eq v1, v3  ; v3 = 0
;; @0006                               v5 = uextend.i32 v4
;; @0007                               v6 = uextend.i64 v5
;; @0008                               v7 = iadd v2, v6
;; @0009                               return v7
;; }
