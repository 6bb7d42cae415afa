;;! test = "clif"
;;! show = ["wasm_to_host"]

;; Wasm to host: records the exit, passes an array of slots, raises what the host left pending.
(module
  (import "" "f" (func (param i32 f64 v128 externref) (result f32 i64))))
;; function wasm_to_host[0]:
;; function u2:0(i64 vmctx, i32, f64, i8x16, i32) -> f32, i64 tail {
;;     ss0 = explicit_slot 64, align = 16
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64, i64, i64) -> i64 system_v
;;     sig1 = (i64) system_v
;;     stack_limit = gv1
;;
;; block0(v0: i64, v1: i32, v2: f64, v3: i8x16, v4: i32):
;;     v5 = load.i64 notrap aligned v0+16
;;     v6 = get_return_address.i64
;;     v7 = get_frame_pointer.i64
;;     v8 = load.i64 notrap aligned v7
;;     store notrap aligned v6, v5+24
;;     store notrap aligned v8, v5+32
;;     v9 = stack_addr.i64 ss0
;;     store notrap aligned little v1, v9
;;     store notrap aligned little v2, v9+16
;;     store notrap aligned little v3, v9+32
;;     store notrap aligned little v4, v9+48
;;     v10 = load.i64 notrap aligned v0+24
;;     v11 = load.i64 notrap aligned v0+56
;;     v12 = call_indirect sig0, v11(v0, v10, v9)
;;     v13 = iconst.i64 0
;;     v14 = icmp eq v12, v13  ; v13 = 0
;;     brif v14, block1, block2
;;
;; block1 cold:
;;     v15 = load.i64 notrap aligned v0+32
;;     v16 = load.i64 notrap aligned v15+208
;;     call_indirect sig1, v16(v0)
;;     trap user11
;;
;; block2:
;;     v17 = load.f32 notrap aligned little v9
;;     v18 = load.i64 notrap aligned little v9+16
;;     return v17, v18
;; }
