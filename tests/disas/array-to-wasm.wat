;;! test = "clif"
;;! show = ["array_to_wasm"]

;; Host to wasm: saves the previous entry record, reads parameters from slots, writes results to slots, lands unwinding.
(module
  (func (export "f") (param i32 f64 v128 externref) (result f32 i64)
    unreachable))
;; function array_to_wasm[0]:
;; function u1:0(i64, i64, i64) -> i64 system_v {
;;     sig0 = (i64 vmctx, i32, f64, i8x16, i32) -> f32, i64 tail
;;
;; block0(v0: i64, v1: i64, v2: i64):
;;     v3 = load.i64 notrap aligned v0+16
;;     v4 = load.i64 notrap aligned v3
;;     v5 = load.i64 notrap aligned v3+8
;;     v6 = load.i64 notrap aligned v3+16
;;     jump block1
;;
;; block1:
;;     v9 = get_stack_pointer.i64
;;     v10 = get_frame_pointer.i64
;;     v11 = get_exception_handler_address.i64 block1, 0
;;     store notrap aligned v9, v3
;;     store notrap aligned v10, v3+8
;;     store notrap aligned v11, v3+16
;;     v12 = load.i32 notrap aligned little v2
;;     v13 = load.f64 notrap aligned little v2+16
;;     v14 = load.i8x16 notrap aligned little v2+32
;;     v15 = load.i32 notrap aligned little v2+48
;;     try_call_indirect.i64 v1(v0, v12, v13, v14, v15), sig0, block2(ret0, ret1), [ default: block3 ]
;;
;; block2(v7: f32, v8: i64):
;;     store notrap aligned little v7, v2
;;     store notrap aligned little v8, v2+16
;;     store.i64 notrap aligned v4, v3
;;     store.i64 notrap aligned v5, v3+8
;;     store.i64 notrap aligned v6, v3+16
;;     v16 = iconst.i64 1
;;     return v16  ; v16 = 1
;;
;; block3 cold:
;;     store.i64 notrap aligned v4, v3
;;     store.i64 notrap aligned v5, v3+8
;;     store.i64 notrap aligned v6, v3+16
;;     v17 = iconst.i64 0
;;     return v17  ; v17 = 0
;; }
