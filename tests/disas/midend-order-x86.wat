;;! test = "asm"

;; Each sum is needed only by the stores at the end, but takes two values and leaves one: behind the optimiser it is
;; computed where it stands here, so no load waits in a register for its partner's.
(module
  (memory 1)
  (func (param i32)
    (local i32 i32 i32)
    (local.set 1 (i32.xor (i32.load (local.get 0)) (i32.load offset=4 (local.get 0))))
    (local.set 2 (i32.xor (i32.load offset=8 (local.get 0)) (i32.load offset=12 (local.get 0))))
    (local.set 3 (i32.xor (i32.load offset=16 (local.get 0)) (i32.load offset=20 (local.get 0))))
    (i32.store (local.get 0) (local.get 3))
    (i32.store offset=4 (local.get 0) (local.get 2))
    (i32.store offset=8 (local.get 0) (local.get 1))))
