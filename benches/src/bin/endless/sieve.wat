;; Counts primes below 65,536 for ever, in one function.
(module
  (import "host" "tick" (func $tick))
  (memory 1)
  (func (export "main") (local $i i32) (local $j i32) (local $n i32)
    loop $round
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))
      (local.set $n (i32.const 0))
      (local.set $i (i32.const 2))
      loop $next
        (if (i32.load8_u (local.get $i))
          (then
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (local.set $j (i32.shl (local.get $i) (i32.const 1)))
            block $done
              loop $mark
                (br_if $done (i32.ge_u (local.get $j) (i32.const 65536)))
                (i32.store8 (local.get $j) (i32.const 0))
                (local.set $j (i32.add (local.get $j) (local.get $i)))
                br $mark
              end
            end))
        (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 65536)))
      end
      (if (i32.ne (local.get $n) (i32.const 6542)) (then unreachable))
      call $tick
      br $round
    end))
