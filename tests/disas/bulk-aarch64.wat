;;! test = "clif"
;;! target = "aarch64"

;; Stores across the end of a memory may be done in part: the last byte is read first.
(module
  (memory 1)
  (func (param i32 i32)
    (memory.copy (local.get 0) (local.get 1) (i32.const 23)))
  (func (param i32 i32)
    (memory.fill (local.get 0) (local.get 1) (i32.const 7))))
