;;! test = "midend"
(module
  (memory 1)
  ;; A state machine: each state goes straight to the next one.
  (func (param $p i32) (result i32) (local $state i32) (local $count i32)
    loop $top
      block $next
        block $b
          block $a
            (br_table $a $b $next (local.get $state))
          end
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (local.set $state (i32.const 1))
          br $next
        end
        (local.set $count (i32.add (local.get $count) (i32.const 100)))
        (local.set $state (i32.const 0))
      end
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br_if $top (i32.load8_u (local.get $p)))
    end
    (i32.add (local.get $state) (local.get $count)))
  ;; A truth value made by one branch and asked by another.
  (func (param i32 i32) (result i32)
    (if (if (result i32) (local.get 0) (then (i32.ne (local.get 1) (i32.const 7))) (else (i32.const 0)))
      (then (return (i32.const 1))))
    (i32.const 2))
  ;; Not copied: the block makes a call.
  (func $f (param i32) (result i32)
    (if (result i32) (block (result i32) (drop (br_if 0 (i32.const 1) (local.get 0))) (i32.const 0))
      (then (call $f (i32.const 1)))
      (else (i32.const 4)))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;     region0 = 1 "heap"
;;     region1 = 0 "context"
;;
;;                                 block0(v0: i64, v1: i32):
;;                                     v2 = iconst.i32 0
;; @0003                               jump block6(v2, v2, v1)  ; v2 = 0, v2 = 0
;;
;;                                 block9(v44: i32, v46: i32, v47: i32):
;;                                     v45 = iconst.i32 1
;; @000d                               jump block3
;;
;;                                 block6(v22: i32, v24: i32, v25: i32):
;;                                     v23 = iconst.i32 0
;; @000d                               jump block2
;;
;;                                 block2:
;; @0015                               v5 = iconst.i32 1
;; @0017                               v6 = iadd.i32 v24, v5  ; v5 = 1
;; @001a                               v7 = iconst.i32 1
;; @001e                               jump block7(v7, v6)  ; v7 = 1
;;
;;                                 block3:
;; @0023                               v8 = iconst.i32 100
;; @0026                               v9 = iadd.i32 v46, v8  ; v8 = 100
;; @0029                               v10 = iconst.i32 0
;; @002d                               jump block8(v10, v9)  ; v10 = 0
;;
;;                                 block8(v35: i32, v37: i32):
;;                                     v36 = iconst.i32 0
;; @0030                               v38 = iconst.i32 1
;; @0032                               v39 = iadd.i32 v47, v38  ; v38 = 1
;; @0037                               v40 = uextend.i64 v39
;; @0037                               v41 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0037                               v42 = iadd v41, v40
;; @0037                               v43 = uload8.i32 little region0 v42
;; @003a                               brif v43, block6(v36, v37, v39), block5(v36, v37)  ; v36 = 0, v36 = 0
;;
;;                                 block7(v26: i32, v28: i32):
;;                                     v27 = iconst.i32 1
;; @0030                               v29 = iconst.i32 1
;; @0032                               v30 = iadd.i32 v25, v29  ; v29 = 1
;; @0037                               v31 = uextend.i64 v30
;; @0037                               v32 = load.i64 notrap aligned readonly can_move region1 v0+56
;; @0037                               v33 = iadd v32, v31
;; @0037                               v34 = uload8.i32 little region0 v33
;; @003a                               brif v34, block9(v27, v28, v30), block5(v27, v28)  ; v27 = 1, v27 = 1
;;
;;                                 block5(v48: i32, v49: i32):
;; @0041                               v21 = iadd v48, v49
;; @0042                               return v21
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32, v2: i32):
;; @0003                               brif v1, block1, block2
;;
;;                                 block1:
;; @0007                               v3 = iconst.i32 7
;; @0009                               v4 = icmp.i32 ne v2, v3  ; v3 = 7
;; @0009                               v5 = uextend.i32 v4
;; @000a                               jump block3(v5)
;;
;;                                 block2:
;; @000b                               v7 = iconst.i32 0
;; @000d                               jump block6(v7)  ; v7 = 0
;;
;;                                 block3(v6: i32):
;; @000e                               brif v6, block4, block5
;;
;;                                 block6(v10: i32):
;;                                     v11 = iconst.i32 0
;; @000e                               jump block5
;;
;;                                 block4:
;; @0010                               v8 = iconst.i32 1
;; @0012                               return v8  ; v8 = 1
;;
;;                                 block5:
;; @0014                               v9 = iconst.i32 2
;; @0016                               return v9  ; v9 = 2
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32) -> i32 tail {
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned gv0+8
;;     sig0 = (i64 vmctx, i32) -> i32 tail
;;     fn0 = colocated u0:2 sig0
;;     stack_limit = gv1
;;
;;                                 block0(v0: i64, v1: i32):
;; @0003                               v2 = iconst.i32 1
;; @0007                               brif v1, block6(v2), block2  ; v2 = 1
;;
;;                                 block2:
;; @000a                               v4 = iconst.i32 0
;; @000c                               jump block7(v4)  ; v4 = 0
;;
;;                                 block7(v11: i32):
;;                                     v12 = iconst.i32 0
;; @000d                               jump block4
;;
;;                                 block6(v9: i32):
;;                                     v10 = iconst.i32 1
;; @000d                               jump block3
;;
;;                                 block3:
;; @000f                               v5 = iconst.i32 1
;; @0011                               v6 = call fn0(v0, v5)  ; v5 = 1
;; @0013                               jump block5(v6)
;;
;;                                 block4:
;; @0014                               v8 = iconst.i32 4
;; @0016                               jump block5(v8)  ; v8 = 4
;;
;;                                 block5(v7: i32):
;; @0017                               return v7
;; }
