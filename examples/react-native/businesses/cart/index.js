import { AppRegistry } from "react-native";
import { Cart } from "./Cart";

AppRegistry.registerComponent("cart", () => Cart);
