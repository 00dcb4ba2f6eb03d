import { bentocacheCandidate } from "./bentocache.ts";
import { cacheManagerCandidate } from "./cache-manager.ts";
import { cacheableCandidate } from "./cacheable.ts";
import type { Candidate } from "./candidate.ts";
import { keyvCandidate } from "./keyv.ts";
import { layeredLoaderCandidate } from "./layered-loader.ts";
import { lruCacheCandidate } from "./lru-cache.ts";
import { syncCandidates } from "./sync.ts";
import { unstorageCandidate } from "./unstorage.ts";

export const CANDIDATES: readonly Candidate[] = [
  ...syncCandidates(),
  layeredLoaderCandidate,
  lruCacheCandidate,
  cacheableCandidate,
  cacheManagerCandidate,
  bentocacheCandidate,
  keyvCandidate,
  unstorageCandidate,
];
