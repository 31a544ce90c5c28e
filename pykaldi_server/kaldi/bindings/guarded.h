// Wraps functions and methods of the core for Python.
//
//   m.def("topsort", WithoutGil(&TopSort<Lattice>), py::arg("lat"));
//   lattice.def("start", WithGil(&Lattice::Start));
//
// Each argument that is a lattice is guarded while the function runs: one that the function may change (a
// pointer, or the object of a method that is not const) against every other thread, one that it reads against
// those that change it. See ConcurrentUse. The GIL does not protect them, as most functions run without it.
//
// What the core takes as a pointer becomes a reference, which Python's None does not match: as a pointer None
// would be null, also as the object of a method.
#ifndef PYKALDI_SERVER_BINDINGS_GUARDED_H_
#define PYKALDI_SERVER_BINDINGS_GUARDED_H_

#include <pybind11/pybind11.h>

#include <type_traits>
#include <utility>

#include "csrc/lat/lattice.h"

namespace pykaldi {

// Guards an argument of a function for as long as it lives; most need nothing.
template <class T>
struct ArgumentGuard {
  explicit ArgumentGuard(T &) {}
};

template <class Arc>
struct ArgumentGuard<const VectorLattice<Arc>> : LatticeUse::Shared {
  explicit ArgumentGuard(const VectorLattice<Arc> &lattice)
      : LatticeUse::Shared(lattice.Use(), "the lattice") {}
};

template <class Arc>
struct ArgumentGuard<VectorLattice<Arc>> : LatticeUse::Exclusive {
  explicit ArgumentGuard(VectorLattice<Arc> &lattice) : LatticeUse::Exclusive(lattice.Use(), "the lattice") {}
};

template <class Work>
auto Guarded(const Work &work) {
  return work();
}

// Calls work() with guards for the other arguments.
template <class Work, class First, class... Rest>
auto Guarded(const Work &work, First &first, Rest &...rest) {
  const ArgumentGuard<First> guard(first);
  return Guarded(work, rest...);
}

// How Python gives an argument that the core takes as T.
template <class T>
struct Argument {
  using Type = T;
  static T &&Pass(std::remove_reference_t<T> &value) { return static_cast<T &&>(value); }
};

template <class T>
struct Argument<T *> {
  using Type = T &;
  static T *Pass(T &value) { return &value; }
};

struct NoScope {};

template <class Scope, class Result, class... Args>
auto Wrap(Result (*function)(Args...)) {
  return [function](typename Argument<Args>::Type... args) -> std::decay_t<Result> {
    [[maybe_unused]] Scope scope;
    return Guarded([&]() -> std::decay_t<Result> { return function(Argument<Args>::Pass(args)...); },
                   args...);
  };
}

template <class Scope, class Result, class Class, class... Args>
auto Wrap(Result (Class::*method)(Args...) const) {
  return [method](const Class &self, typename Argument<Args>::Type... args) -> std::decay_t<Result> {
    [[maybe_unused]] Scope scope;
    return Guarded([&]() -> std::decay_t<Result> { return (self.*method)(Argument<Args>::Pass(args)...); },
                   self, args...);
  };
}

template <class Scope, class Result, class Class, class... Args>
auto Wrap(Result (Class::*method)(Args...)) {
  return [method](Class &self, typename Argument<Args>::Type... args) -> std::decay_t<Result> {
    [[maybe_unused]] Scope scope;
    return Guarded([&]() -> std::decay_t<Result> { return (self.*method)(Argument<Args>::Pass(args)...); },
                   self, args...);
  };
}

// For work that takes time. A lambda without captures is given as +[](...) {...}.
template <class Function>
auto WithoutGil(Function function) {
  return Wrap<pybind11::gil_scoped_release>(function);
}

// For what is over at once.
template <class Function>
auto WithGil(Function function) {
  return Wrap<NoScope>(function);
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BINDINGS_GUARDED_H_
