;; Two threads of a script share a memory: the directives `thread` and `wait`.

(module $Mem
  (memory (export "shared") 1 1 shared))

(thread $T1 (shared (module $Mem))
  (register "mem" $Mem)
  (module
    (memory (import "mem" "shared") 1 10 shared)
    (func (export "run")
      (i32.store (i32.const 4) (i32.const 42))
      (i32.atomic.store (i32.const 0) (i32.const 1))))
  (invoke "run"))

(thread $T2 (shared (module $Mem))
  (register "mem" $Mem)
  (module
    (memory (import "mem" "shared") 1 1 shared)
    (func (export "run") (result i32)
      (loop $again (br_if $again (i32.eqz (i32.atomic.load (i32.const 0)))))
      (i32.load (i32.const 4))))
  (assert_return (invoke "run") (i32.const 42)))

(wait $T1)
(wait $T2)

(register "mem" $Mem)
(module
  (memory (import "mem" "shared") 1 1 shared)
  (func (export "load") (result i32) (i32.load (i32.const 4))))
(assert_return (invoke "load") (i32.const 42))
