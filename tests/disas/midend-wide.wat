;;! test = "optimize"
;; What the C and the Rust runtime call `__multi3`.
(module
  (memory 1)
  (func (export "c") (param i32 i64 i64 i64 i64) (local i64)
    local.get 0 local.get 4 local.get 1 i64.mul local.get 2 local.get 3 i64.mul i64.add
    local.get 3 i64.const 32 i64.shr_u local.tee 2 local.get 1 i64.const 32 i64.shr_u local.tee 4
    i64.mul i64.add local.get 3 i64.const 4294967295 i64.and local.tee 3 local.get 1 i64.const 4294967295
    i64.and local.tee 1 i64.mul local.tee 5 i64.const 32 i64.shr_u local.get 3 local.get 4
    i64.mul i64.add local.tee 3 i64.const 32 i64.shr_u i64.add local.get 3 i64.const 4294967295
    i64.and local.get 2 local.get 1 i64.mul i64.add local.tee 1 i64.const 32 i64.shr_u
    i64.add i64.store offset=8 local.get 0 local.get 1 i64.const 32 i64.shl local.get 5 i64.const 4294967295
    i64.and i64.or i64.store)
  (func (export "rust") (param i32 i64 i64 i64 i64) (local i64 i64 i64 i64 i64 i64)
    local.get 0 local.get 3 i64.const 4294967295 i64.and local.tee 5 local.get 1 i64.const 4294967295 i64.and
    local.tee 6 i64.mul local.tee 7 local.get 3 i64.const 32 i64.shr_u local.tee 8 local.get 6
    i64.mul local.tee 6 local.get 5 local.get 1 i64.const 32 i64.shr_u local.tee 9 i64.mul
    i64.add local.tee 5 i64.const 32 i64.shl i64.add local.tee 10 i64.store local.get 0
    local.get 8 local.get 9 i64.mul local.get 5 local.get 6 i64.lt_u i64.extend_i32_u i64.const 32
    i64.shl local.get 5 i64.const 32 i64.shr_u i64.or i64.add local.get 10 local.get 7
    i64.lt_u i64.extend_i32_u i64.add local.get 4 local.get 1 i64.mul local.get 3 local.get 2
    i64.mul i64.add i64.add i64.store offset=8))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32, i64, i64, i64, i64) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i64, v3: i64, v4: i64, v5: i64):
;; @0009                               v7 = imul v5, v2
;; @000e                               v8 = imul v3, v4
;; @005c                               v46 = umulhi v4, v2
;; @005c                               v47 = iadd v46, v8
;; @005c                               v34 = iadd v47, v7
;; @005d                               v35 = uextend.i64 v1
;; @005d                               v36 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @005d                               v37 = iadd v36, v35
;; @005d                               store little region0 v34, v37+8
;; @0070                               v42 = imul v4, v2
;; @0071                               store little region0 v42, v37
;; @0074                               return
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i64, i64, i64, i64) tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32, v2: i64, v3: i64, v4: i64, v5: i64):
;; @003a                               v21 = imul v4, v2
;; @003d                               v22 = uextend.i64 v1
;; @003d                               v23 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @003d                               v24 = iadd v23, v22
;; @003d                               store little region0 v21, v24
;; @005d                               v38 = umulhi v4, v2
;; @0062                               v39 = imul v5, v2
;; @0067                               v40 = imul v4, v3
;; @0068                               v41 = iadd v39, v40
;; @0069                               v42 = iadd v38, v41
;; @006a                               store little region0 v42, v24+8
;; @006d                               return
;; }
