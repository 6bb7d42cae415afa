;;! test = "clif"
;;! show = ["builtin"]

;; Wasm to the runtime: records the exit, and raises if the builtin failed.
(module
  (memory 1)
  (func (param i32) (result i32)
    (memory.grow (local.get 0))))
;; function builtin[memory_grow]:
;; function u3:0(i64 vmctx, i32, i64) -> i64 tail {
;;     sig0 = (i64, i32, i64) -> i64 system_v
;;     sig1 = (i64) system_v
;;
;; block0(v0: i64, v1: i32, v2: i64):
;;     v3 = load.i64 notrap aligned v0+16
;;     v4 = get_return_address.i64
;;     v5 = get_frame_pointer.i64
;;     v6 = load.i64 notrap aligned v5
;;     store notrap aligned v4, v3+24
;;     store notrap aligned v6, v3+32
;;     v7 = load.i64 notrap aligned v0+32
;;     v8 = load.i64 notrap aligned v7
;;     v9 = call_indirect sig0, v8(v0, v1, v2)
;;     v10 = iconst.i64 -9223372036854775808
;;     v11 = icmp eq v9, v10  ; v10 = -9223372036854775808
;;     brif v11, block1, block2
;;
;; block1 cold:
;;     v12 = load.i64 notrap aligned v0+32
;;     v13 = load.i64 notrap aligned v12+208
;;     call_indirect sig1, v13(v0)
;;     trap user11
;;
;; block2:
;;     return v9
;; }
