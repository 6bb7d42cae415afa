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
;; @0009                               br_table v1, block3, [block1, block2, block1]
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
