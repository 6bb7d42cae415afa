;;! test = "clif"

;; Operators on different lanes follow each other with at most one cast between two of them, which is no instruction.
(module
  (func (param v128 v128) (result v128)
    (f32x4.add (i32x4.add (i32x4.sub (local.get 0) (local.get 1)) (local.get 1)) (local.get 1)))
  (func (param v128 v128 v128) (result v128)
    (v128.bitselect (local.get 0) (local.get 1) (i16x8.gt_s (local.get 0) (local.get 2)))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i8x16, i8x16) -> i8x16 tail {
;;                                 block0(v0: i64, v1: i8x16, v2: i8x16):
;; @0005                               v3 = bitcast.i32x4 little v1
;; @0005                               v4 = bitcast.i32x4 little v2
;; @0005                               v5 = isub v3, v4
;; @0005                               v6 = bitcast.i8x16 little v5
;; @000a                               v7 = bitcast.i32x4 little v2
;; @000a                               v8 = iadd v5, v7
;; @000a                               v9 = bitcast.i8x16 little v8
;; @000f                               v10 = bitcast.f32x4 little v9
;; @000f                               v11 = bitcast.f32x4 little v2
;; @000f                               v12 = fadd v10, v11
;; @000f                               v13 = bitcast.i8x16 little v12
;; @0012                               return v13
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i8x16, i8x16, i8x16) -> i8x16 tail {
;;                                 block0(v0: i64, v1: i8x16, v2: i8x16, v3: i8x16):
;; @0009                               v4 = bitcast.i16x8 little v1
;; @0009                               v5 = bitcast.i16x8 little v3
;; @0009                               v6 = icmp sgt v4, v5
;; @0009                               v7 = bitcast.i8x16 little v6
;; @000b                               v8 = bitcast.i16x8 little v1
;; @000b                               v9 = bitcast.i16x8 little v2
;; @000b                               v10 = bitselect v6, v8, v9
;; @000b                               v11 = bitcast.i8x16 little v10
;; @000d                               return v11
;; }
