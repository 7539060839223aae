// What the update manager and the session need of the client.

export interface OfferLike {
  package: string;
  release: { digest: string; version: string };
  apply: { mode?: string; mandatory?: boolean; message?: string };
}

export interface LaunchLike {
  readonly token: string;
  readonly trial: boolean;
  confirm(): Promise<void>;
  crash(detail?: string): Promise<void>;
  close(): Promise<void>;
}

export interface UpdatingClient {
  check(): Promise<{ answers: Record<string, { verdict: string; reason: string; offer?: OfferLike }> }>;
  fetch(packages?: string[]): Promise<{ staged: OfferLike[]; deferred: OfferLike[] }>;
  status(): { packages: Record<string, { staged?: { digest: string; version: string } }> };
  on(name: "ready", listener: (offers: OfferLike[]) => void): () => void;
}

export interface StartingClient<L extends LaunchLike = LaunchLike> {
  start(): Promise<L>;
  page(pkg: string): Promise<{ launch: L }>;
}
