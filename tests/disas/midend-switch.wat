;;! test = "midend"
(module
  ;; Few cases far apart: a test for the default, then one for each case.
  (func (param i32) (result i32)
    block
      block
        block
          block
            (br_table 1 0 0 2 0 0 0 0 1 0 3 (local.get 0))
          end
          (return (i32.const 0))
        end
        (return (i32.const 1))
      end
      (return (i32.const 2))
    end
    i32.const 3)
  ;; A set of cases with one target: a bit test.
  (func (param i32) (result i32)
    block
      block
        (br_table 0 1 0 1 0 1 0 1 0 1 0 1 1 (local.get 0))
      end
      (return (i32.const 1))
    end
    i32.const 2)
  ;; Ranges.
  (func (param i32) (result i32)
    block
      block
        (br_table 0 0 0 0 0 0 0 1 1 1 1 1 1 1 1 1 1 1 0 (local.get 0))
      end
      (return (i32.const 1))
    end
    i32.const 2)
  ;; Nothing to decide.
  (func (param i32) (result i32)
    block
      (br_table 0 0 0 (local.get 0))
    end
    i32.const 2)
  ;; Many targets, of which the default is one: a test in front.
  (func (param i32) (result i32)
    block
      block
        block
          block
            block
              block
                block
                  (br_table 0 1 6 2 3 4 6 5 0 6 (local.get 0))
                end
                (return (i32.const 1))
              end
              (return (i32.const 2))
            end
            (return (i32.const 3))
          end
          (return (i32.const 4))
        end
        (return (i32.const 5))
      end
      (return (i32.const 6))
    end
    i32.const 7)
  ;; Values travel with the branch.
  (func (param i32 i64 i64) (result i64)
    (block (result i64)
      (block (result i64)
        (br_table 0 1 0 1 (local.get 1) (local.get 0)))
      (i64.add (local.get 2)))))
;; function wasm[0]:
;; function u0:0(i64 vmctx, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32):
;; @000b                               v6 = iconst.i32 10
;; @000b                               v7 = icmp ult v1, v6  ; v6 = 10
;; @000b                               brif v7, block6, block5
;;
;;                                 block6:
;; @000b                               v8 = uextend.i64 v1
;; @000b                               v9 = iconst.i32 3
;; @000b                               v10 = icmp.i32 eq v1, v9  ; v9 = 3
;; @000b                               brif v10, block4, block7
;;
;;                                 block7:
;; @000b                               v11 = iconst.i64 257
;; @000b                               v12 = ushr v11, v8  ; v11 = 257
;; @000b                               v13 = iconst.i64 1
;; @000b                               v14 = band v12, v13  ; v13 = 1
;; @000b                               brif v14, block3, block8
;;
;;                                 block8:
;; @000b                               v15 = iconst.i64 758
;; @000b                               v16 = ushr v15, v8  ; v15 = 758
;; @000b                               v17 = iconst.i64 1
;; @000b                               v18 = band v16, v17  ; v17 = 1
;; @000b                               jump block2
;;
;;                                 block2:
;; @000b                               jump block1
;;
;;                                 block1:
;; @0019                               v2 = iconst.i32 0
;; @001b                               return v2  ; v2 = 0
;;
;;                                 block3:
;; @001d                               v3 = iconst.i32 1
;; @001f                               return v3  ; v3 = 1
;;
;;                                 block4:
;; @0021                               v4 = iconst.i32 2
;; @0023                               return v4  ; v4 = 2
;;
;;                                 block5:
;; @0025                               v5 = iconst.i32 3
;; @0027                               return v5  ; v5 = 3
;; }
;; function wasm[1]:
;; function u0:1(i64 vmctx, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32):
;; @0007                               v4 = iconst.i32 11
;; @0007                               v5 = icmp ult v1, v4  ; v4 = 11
;; @0007                               brif v5, block5, block4
;;
;;                                 block5:
;; @0007                               v6 = uextend.i64 v1
;; @0007                               v7 = iconst.i64 1365
;; @0007                               v8 = ushr v7, v6  ; v7 = 1365
;; @0007                               v9 = iconst.i64 1
;; @0007                               v10 = band v8, v9  ; v9 = 1
;; @0007                               brif v10, block2, block4
;;
;;                                 block2:
;; @0007                               jump block1
;;
;;                                 block4:
;; @0007                               jump block3
;;
;;                                 block1:
;; @0017                               v2 = iconst.i32 1
;; @0019                               return v2  ; v2 = 1
;;
;;                                 block3:
;; @001b                               v3 = iconst.i32 2
;; @001d                               return v3  ; v3 = 2
;; }
;; function wasm[2]:
;; function u0:2(i64 vmctx, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32):
;; @0007                               v4 = iconst.i32 7
;; @0007                               v5 = isub v1, v4  ; v4 = 7
;; @0007                               v6 = iconst.i32 11
;; @0007                               v7 = icmp ult v5, v6  ; v6 = 11
;; @0007                               brif v7, block4, block2
;;
;;                                 block2:
;; @0007                               jump block1
;;
;;                                 block4:
;; @0007                               jump block3
;;
;;                                 block1:
;; @001d                               v2 = iconst.i32 1
;; @001f                               return v2  ; v2 = 1
;;
;;                                 block3:
;; @0021                               v3 = iconst.i32 2
;; @0023                               return v3  ; v3 = 2
;; }
;; function wasm[3]:
;; function u0:3(i64 vmctx, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32):
;; @0005                               jump block1
;;
;;                                 block1:
;; @000b                               v2 = iconst.i32 2
;; @000d                               return v2  ; v2 = 2
;; }
;; function wasm[4]:
;; function u0:4(i64 vmctx, i32) -> i32 tail {
;;                                 block0(v0: i64, v1: i32):
;; @0011                               v9 = iconst.i32 9
;; @0011                               v10 = icmp ult v1, v9  ; v9 = 9
;; @0011                               brif v10, block8, block7
;;
;;                                 block8:
;; @0011                               br_table v1, block7, [block1, block2, block7, block3, block4, block5, block7, block6, block1]
;;
;;                                 block1:
;; @001e                               v2 = iconst.i32 1
;; @0020                               return v2  ; v2 = 1
;;
;;                                 block2:
;; @0022                               v3 = iconst.i32 2
;; @0024                               return v3  ; v3 = 2
;;
;;                                 block3:
;; @0026                               v4 = iconst.i32 3
;; @0028                               return v4  ; v4 = 3
;;
;;                                 block4:
;; @002a                               v5 = iconst.i32 4
;; @002c                               return v5  ; v5 = 4
;;
;;                                 block5:
;; @002e                               v6 = iconst.i32 5
;; @0030                               return v6  ; v6 = 5
;;
;;                                 block6:
;; @0032                               v7 = iconst.i32 6
;; @0034                               return v7  ; v7 = 6
;;
;;                                 block7:
;; @0036                               v8 = iconst.i32 7
;; @0038                               return v8  ; v8 = 7
;; }
;; function wasm[5]:
;; function u0:5(i64 vmctx, i32, i64, i64) -> i64 tail {
;;                                 block0(v0: i64, v1: i32, v2: i64, v3: i64):
;; @0009                               v7 = iconst.i32 0
;; @0009                               v8 = icmp eq v1, v7  ; v7 = 0
;; @0009                               brif v8, block2, block5
;;
;;                                 block5:
;; @0009                               v9 = iconst.i32 2
;; @0009                               v10 = icmp.i32 eq v1, v9  ; v9 = 2
;; @0009                               brif v10, block2, block4
;;
;;                                 block2:
;; @0009                               jump block1(v2)
;;
;;                                 block4:
;; @0009                               jump block3(v2)
;;
;;                                 block1(v4: i64):
;; @0012                               v6 = iadd v4, v3
;; @0013                               jump block3(v6)
;;
;;                                 block3(v5: i64):
;; @0014                               return v5
;; }
