;;! test = "asm"
;;! target = "aarch64"

(module
  (memory 1)
  (func (param i32) (result i32)
    (i32.add (i32.load offset=4 (local.get 0)) (i32.load8_s (local.get 0))))
  (func (param i32 i64)
    (i64.store16 offset=65536 (local.get 0) (local.get 1))))
