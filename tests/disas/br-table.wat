;;! test = "optimize"

(module
  (func (param i32) (result i32)
    (block $default
      (block $one
        (block $zero
          (br_table $zero $one $zero $default (local.get 0)))
        (return (i32.const 100)))
      (return (i32.const 101)))
    (i32.const 102)))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32):
;; @0009                               v5 = iconst.i32 0
;; @0009                               v6 = icmp eq v1, v5  ; v5 = 0
;; @0009                               brif v6, block1, block4
;;
;;                                 block4:
;; @0009                               v7 = iconst.i32 1
;; @0009                               v8 = icmp.i32 eq v1, v7  ; v7 = 1
;; @0009                               brif v8, block2, block5
;;
;;                                 block5:
;; @0009                               v9 = iconst.i32 2
;; @0009                               v10 = icmp.i32 eq v1, v9  ; v9 = 2
;; @0009                               brif v10, block1, block3
;;
;;                                 block1:
;; @0010                               v2 = iconst.i32 100
;; @0013                               return v2  ; v2 = 100
;;
;;                                 block2:
;; @0015                               v3 = iconst.i32 101
;; @0018                               return v3  ; v3 = 101
;;
;;                                 block3:
;; @001a                               v4 = iconst.i32 102
;; @001d                               return v4  ; v4 = 102
;; }
