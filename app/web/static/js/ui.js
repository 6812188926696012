// The one door to Preact: everything that draws imports from here.
export {
  html,
  render,
  createContext,
  useState,
  useReducer,
  useEffect,
  useLayoutEffect,
  useRef,
  useMemo,
  useCallback,
  useContext,
} from "../vendor/htm-preact.standalone.module.js";
