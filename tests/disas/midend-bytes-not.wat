;;! test = "midend"
;; Loops that look as if they could be done in bulk, and must be left alone.
(module
  (memory 1)
  ;; The source goes on by two.
  (func (param $to i32) (param $from i32) (param $n i32)
    loop
      (i32.store8 (local.get $to) (i32.load8_u (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (local.set $from (i32.add (local.get $from) (i32.const 2)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
    end)
  ;; What is stored is not what was loaded.
  (func (param $to i32) (param $from i32) (param $n i32)
    loop
      (i32.store8 (local.get $to) (i32.xor (i32.load8_u (local.get $from)) (i32.const 1)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
    end)
  ;; What is filled in changes.
  (func (param $to i32) (param $n i32)
    loop
      (i32.store8 (local.get $to) (local.get $n))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
    end)
  ;; The counter does not pass zero for certain.
  (func (param $to i32) (param $n i32)
    loop
      (i32.store8 (local.get $to) (i32.const 7))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 2))))
    end)
  ;; A sum goes from iteration to iteration.
  (func (param $p i32) (param $n i32) (result i32) (local $sum i32)
    loop
      (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $p))))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
    end
    (local.get $sum))
  ;; A byte is compared as a signed number.
  (func (param $p i32) (result i32)
    loop
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br_if 0 (i32.ne (i32.load8_s (local.get $p)) (i32.const 200)))
    end
    (local.get $p))
  ;; Two bytes are read and one is written.
  (func (param $to i32) (param $from i32) (param $n i32)
    loop
      (i32.store8 (local.get $to) (i32.load16_u (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
    end))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i32, i32) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;; @0001                               jump block1(v1, v2, v3)
;;
;;                                 block1(v4: i32, v5: i32, v17: i32):
;; @0007                               v6 = uextend.i64 v5
;; @0007                               v7 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0007                               v8 = iadd v7, v6
;; @0007                               v9 = uload8.i32 little region0 v8
;; @000a                               v10 = uextend.i64 v4
;; @000a                               v11 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @000a                               v12 = iadd v11, v10
;; @000a                               istore8 little region0 v9, v12
;; @000f                               v13 = iconst.i32 1
;; @0011                               v14 = iadd v4, v13  ; v13 = 1
;; @0016                               v15 = iconst.i32 2
;; @0018                               v16 = iadd v5, v15  ; v15 = 2
;; @001d                               v18 = iconst.i32 1
;; @001f                               v19 = isub v17, v18  ; v18 = 1
;; @0022                               brif v19, block1(v14, v16, v19), block2
;;
;;                                 block2:
;; @0025                               return
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32, i32) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;; @0001                               jump block1(v1, v2, v3)
;;
;;                                 block1(v4: i32, v5: i32, v19: i32):
;; @0007                               v6 = uextend.i64 v5
;; @0007                               v7 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0007                               v8 = iadd v7, v6
;; @0007                               v9 = uload8.i32 little region0 v8
;; @000a                               v10 = iconst.i32 1
;; @000c                               v11 = bxor v9, v10  ; v10 = 1
;; @000d                               v12 = uextend.i64 v4
;; @000d                               v13 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @000d                               v14 = iadd v13, v12
;; @000d                               istore8 little region0 v11, v14
;; @0012                               v15 = iconst.i32 1
;; @0014                               v16 = iadd v4, v15  ; v15 = 1
;; @0019                               v17 = iconst.i32 1
;; @001b                               v18 = iadd v5, v17  ; v17 = 1
;; @0020                               v20 = iconst.i32 1
;; @0022                               v21 = isub v19, v20  ; v20 = 1
;; @0025                               brif v21, block1(v16, v18, v21), block2
;;
;;                                 block2:
;; @0028                               return
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32, i32) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0001                               jump block1(v1, v2)
;;
;;                                 block1(v3: i32, v4: i32):
;; @0007                               v5 = uextend.i64 v3
;; @0007                               v6 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0007                               v7 = iadd v6, v5
;; @0007                               istore8 little region0 v4, v7
;; @000c                               v8 = iconst.i32 1
;; @000e                               v9 = iadd v3, v8  ; v8 = 1
;; @0013                               v10 = iconst.i32 1
;; @0015                               v11 = isub v4, v10  ; v10 = 1
;; @0018                               brif v11, block1(v9, v11), block2
;;
;;                                 block2:
;; @001b                               return
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i32, i32) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0001                               jump block1(v1, v2)
;;
;;                                 block1(v3: i32, v10: i32):
;; @0005                               v4 = iconst.i32 7
;; @0007                               v5 = uextend.i64 v3
;; @0007                               v6 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0007                               v7 = iadd v6, v5
;; @0007                               istore8 little region0 v4, v7  ; v4 = 7
;; @000c                               v8 = iconst.i32 1
;; @000e                               v9 = iadd v3, v8  ; v8 = 1
;; @0013                               v11 = iconst.i32 2
;; @0015                               v12 = isub v10, v11  ; v11 = 2
;; @0018                               brif v12, block1(v9, v12), block2
;;
;;                                 block2:
;; @001b                               return
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx, i32, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32):
;;                                     v3 = iconst.i32 0
;; @0003                               jump block1(v3, v1, v2)  ; v3 = 0
;;
;;                                 block1(v4: i32, v5: i32, v13: i32):
;; @0009                               v6 = uextend.i64 v5
;; @0009                               v7 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0009                               v8 = iadd v7, v6
;; @0009                               v9 = uload8.i32 little region0 v8
;; @000c                               v10 = iadd v4, v9
;; @0011                               v11 = iconst.i32 1
;; @0013                               v12 = iadd v5, v11  ; v11 = 1
;; @0018                               v14 = iconst.i32 1
;; @001a                               v15 = isub v13, v14  ; v14 = 1
;; @001d                               brif v15, block1(v10, v12, v15), block2
;;
;;                                 block2:
;; @0022                               return v10
;; }
;; function wasm[5]:
;; function u0:5(i64 vmctx, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32):
;; @0001                               jump block1(v1)
;;
;;                                 block1(v2: i32):
;; @0005                               v3 = iconst.i32 1
;; @0007                               v4 = iadd v2, v3  ; v3 = 1
;; @000c                               v5 = uextend.i64 v4
;; @000c                               v6 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @000c                               v7 = iadd v6, v5
;; @000c                               v8 = sload8.i32 little region0 v7
;; @000f                               v9 = iconst.i32 200
;; @0012                               v10 = icmp ne v8, v9  ; v9 = 200
;; @0012                               v11 = uextend.i32 v10
;; @0013                               brif v11, block1(v4), block2
;;
;;                                 block2:
;; @0018                               return v4
;; }
;; function wasm[6]:
;; function u0:6(i64 vmctx, i32, i32, i32) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i32, v3: i32):
;; @0001                               jump block1(v1, v2, v3)
;;
;;                                 block1(v4: i32, v5: i32, v17: i32):
;; @0007                               v6 = uextend.i64 v5
;; @0007                               v7 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0007                               v8 = iadd v7, v6
;; @0007                               v9 = uload16.i32 little region0 v8
;; @000a                               v10 = uextend.i64 v4
;; @000a                               v11 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @000a                               v12 = iadd v11, v10
;; @000a                               istore8 little region0 v9, v12
;; @000f                               v13 = iconst.i32 1
;; @0011                               v14 = iadd v4, v13  ; v13 = 1
;; @0016                               v15 = iconst.i32 1
;; @0018                               v16 = iadd v5, v15  ; v15 = 1
;; @001d                               v18 = iconst.i32 1
;; @001f                               v19 = isub v17, v18  ; v18 = 1
;; @0022                               brif v19, block1(v14, v16, v19), block2
;;
;;                                 block2:
;; @0025                               return
;; }
