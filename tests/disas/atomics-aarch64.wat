;;! test = "asm"
;;! target = "aarch64"

(module
  (memory 1 1 shared)
  (func (param i32) (result i32)
    (i32.atomic.load offset=4 (local.get 0)))
  (func (param i32 i64)
    (i64.atomic.store16 (local.get 0) (local.get 1)))
  (func (param i32 i32) (result i32)
    (i32.atomic.rmw8.add_u (local.get 0) (local.get 1)))
  (func (param i32 i64) (result i64)
    (i64.atomic.rmw.xchg (local.get 0) (local.get 1)))
  (func (param i32 i32 i32) (result i32)
    (i32.atomic.rmw16.cmpxchg_u offset=1 (local.get 0) (local.get 1) (local.get 2)))
  (func (atomic.fence)))
